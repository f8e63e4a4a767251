"""Plugin files: a user's Python that registers components, on the driver and, by its text, on every
worker.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType

from cvflow.errors import Fault, RequestError
from cvflow.registry import forget

_loaded: dict[str, str] = {}


def load_plugins(paths: Iterable[str | Path]) -> list[Fault]:
    """Import each file once; gives a fault for each that is missing or fails."""
    return [fault for path in paths if (fault := _load_file(Path(path))) is not None]


def loaded_plugins() -> dict[str, str]:
    """path -> text of every plugin that this process has loaded: what a worker elsewhere needs to
    load them too.
    """
    return dict(_loaded)


def load_texts(plugins: Mapping[str, str]) -> None:
    """Import plugins by their text, on a worker that may not have the files.

    Raises RequestError where one fails.
    """
    if faults := [fault for path, text in plugins.items() if (fault := _load(path, text)) is not None]:
        raise RequestError(*faults)


def _load_file(path: Path) -> Fault | None:
    if not path.is_file():
        return Fault("plugins", f"'{path}'", "a Python file", "Paths are relative to the recipe file.")
    return _load(str(path), path.read_text())


def _module_name(text: str) -> str:
    return f"cvflow_plugin_{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def _load(path: str, text: str) -> Fault | None:
    name = _module_name(text)
    if name in sys.modules:
        return None
    if path in _loaded:  # the file was edited since, as happens in a notebook
        _unload(_module_name(_loaded.pop(path)))
    module = ModuleType(name)
    module.__file__ = path
    # before it runs: dataclasses and pickle look themselves up there
    sys.modules[name] = module
    try:
        exec(compile(text, path, "exec"), module.__dict__)
    except Exception as error:  # a user's code can raise anything
        _unload(name)
        return Fault(
            "plugins",
            f"{type(error).__name__}: {error}",
            f"that {path} imports",
            f"Type 'python {path}' to see it.",
        )
    _loaded[path] = text
    return None


def _unload(name: str) -> None:
    forget(name)
    sys.modules.pop(name, None)
