"""What naming the tasks imports: recipes are checked by commands that read no sample."""

from __future__ import annotations

import subprocess
import sys


def test_naming_every_task_imports_no_torchvision() -> None:
    """It takes two seconds, most of them torch.compile's, each time a recipe is checked."""
    code = "import sys; from cvflow.registry import names; print(len(names('task')), {'torchvision', 'torch._dynamo'} & {*sys.modules})"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    count, _, imported = found.stdout.strip().partition(" ")
    assert int(count) >= 6
    assert imported == "set()"
