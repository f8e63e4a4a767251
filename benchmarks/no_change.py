"""A no-change ``cvflow run digits`` against ``dvc repro report@digits``: wall times in pairs, and
their median ratio.

python benchmarks/no_change.py [PAIRS]
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BAR = 1.5


def seconds(*command: str) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def main(pairs: int) -> int:
    """Print the table; 1 where the median ratio is above the bar."""
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with tempfile.TemporaryDirectory() as project:
        os.chdir(project)
        seconds("cvflow", "run", "digits", "train.epochs=1")
        ours, theirs = [], []
        for _ in range(pairs):
            ours.append(seconds("cvflow", "run", "digits", "train.epochs=1"))
            theirs.append(seconds("dvc", "repro", "report@digits"))
        os.chdir("/")
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    print("cvflow run  dvc repro  ratio")
    for a, b, ratio in zip(ours, theirs, ratios, strict=True):
        print(f"{a:8.2f} s {b:8.2f} s  {ratio:.2f}")
    median = statistics.median(ratios)
    print(f"median ratio {median:.2f} (at most {BAR})")
    return int(median > BAR)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 5))
