"""Two sides measured in pairs, A B A B: the median ratio with its interval, and a results file that says on what."""

from __future__ import annotations

import os
import platform
import shlex
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from itertools import accumulate
from math import comb
from pathlib import Path

RESULTS = Path(__file__).resolve().parent / "results"
SCRIPT = os.path.relpath(sys.argv[0], RESULTS.parents[1])
"""The command, before it goes into another directory."""
PACKAGES = ("torch", "torchvision", "pillow", "pyarrow", "numpy", "ray", "mlflow")


@dataclass(frozen=True)
class Pairs:
    """What two sides measured, pair by pair, in the unit of ``ours`` (images/s, seconds, ...)."""

    ours: Sequence[float]
    theirs: Sequence[float]

    @property
    def ratios(self) -> list[float]:
        """ours / theirs of each pair."""
        return [a / b for a, b in zip(self.ours, self.theirs, strict=True)]

    @property
    def ratio(self) -> float:
        """The median ratio."""
        return statistics.median(self.ratios)

    @property
    def interval(self) -> tuple[float, float]:
        """Holds the median ratio with at least 94 % confidence, from 5 pairs on: their least and greatest, of more further in."""
        ordered, count = sorted(self.ratios), len(self.ratios)
        tails = accumulate(2 * comb(count, i) / 2**count for i in range(count))
        out = max(0, sum(tail <= 1 / 16 for tail in tails) - 1)
        return ordered[out], ordered[-1 - out]

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.ratio:.3f} ({low:.3f} to {high:.3f})"

    def rows(self) -> list[list[object]]:
        """Number of the pair, ours, theirs, ratio: the lines of a table."""
        return [[i + 1, a, b, f"{a / b:.3f}"] for i, (a, b) in enumerate(zip(self.ours, self.theirs, strict=True))]


def in_pairs(ours: Callable[[], float], theirs: Callable[[], float], pairs: int = 5) -> Pairs:
    """Both sides ``pairs`` times, in turn; each gives what it measured. Warm up before, where a side needs it."""
    measured = [(ours(), theirs()) for _ in range(pairs)]
    return Pairs(*zip(*measured, strict=True))


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; numbers with four digits."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in line) + " |" for line in lines)


def write_results(name: str, title: str, *parts: str, keep: bool = True) -> Path:
    """``results/<name>.md``: the parts, then the command, the versions and the machine. Printed as well; keep: else only printed."""
    text = "\n\n".join([f"# {title}", *parts, conditions()]) + "\n"
    path = RESULTS / f"{name}.md"
    if keep:
        RESULTS.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    print(text)
    return path


def conditions() -> str:
    """The command, date, versions and machine."""
    command = shlex.join(["python", SCRIPT, *sys.argv[1:]])
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    load = f"load {os.getloadavg()[0]:.1f} at the end"
    machine = f"{os.cpu_count()} cores ({processor()}), {platform.system()} {platform.machine()}, {load}"
    return f"`{command}`, {date.today()}\n\nPython {platform.python_version()}, {packages}. {machine}."


def processor() -> str:
    """The processor's name, where the system tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor())
