"""What naming the parts of a recipe imports: recipes are checked by commands that read no sample."""

from __future__ import annotations

import subprocess
import sys


def test_naming_every_component_imports_no_torchvision() -> None:
    """It takes two seconds, most of them torch.compile's, each time a recipe is checked."""
    code = (
        "import sys; from cvflow.registry import PACKAGES, get, names, options_model; "
        "found = [options_model(get(kind, name)) for kind in PACKAGES for name in names(kind)]; "
        "print(len(found), {'torchvision', 'torch._dynamo'} & {*sys.modules})"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    count, _, imported = found.stdout.strip().partition(" ")
    assert int(count) >= 80
    assert imported == "set()"
