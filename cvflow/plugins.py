"""Plugin files: a user's Python that registers components, on the driver and on every worker."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Iterable
from pathlib import Path

from cvflow.errors import Fault


def load_plugins(paths: Iterable[str | Path]) -> list[Fault]:
    """Import each file once; gives a fault for each that is missing or fails."""
    return [fault for path in paths if (fault := _load(Path(path))) is not None]


def _load(path: Path) -> Fault | None:
    if not path.is_file():
        return Fault("plugins", f"'{path}'", "a Python file", "Paths are relative to the recipe file.")
    name = f"cvflow_plugin_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]}"
    if name in sys.modules:
        return None
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None  # noqa: S101
    assert spec.loader is not None  # noqa: S101
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # a user's code can raise anything
        del sys.modules[name]
        return Fault("plugins", f"{type(error).__name__}: {error}", f"that {path} imports", f"Type 'python {path}' to see it.")
    return None
