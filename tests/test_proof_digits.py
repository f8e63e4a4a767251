"""The shipped digits recipe reaches its accuracy, in this process and on two workers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.parametrize("workers", [0, 2])
def test_digits_reach_098(workers: int, project: Path) -> None:
    command = [
        Path(sys.executable).parent / "cvflow",
        "run",
        "digits",
        f"compute.workers={workers}",
        "--json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout)
    assert outcome["metrics"]["accuracy"] >= 0.98
    assert outcome["champion"]
