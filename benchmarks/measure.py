"""Two sides measured in pairs, A B A B: the median ratio with its interval, and a results file that
says on what.
"""

from __future__ import annotations

import json
import os
import platform
import shlex
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from itertools import accumulate
from math import comb
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from types import TracebackType

import psutil
import torch

from cvflow.cli import SPINS
from cvflow.runtime.cores import compute_on

RESULTS = Path(__file__).resolve().parent / "results"
SCRIPT = os.path.relpath(sys.argv[0], RESULTS.parents[1])
"""The command, before it goes into another directory."""
SECONDS, TURNS, TRIED = 2.0, 5, 5
"""Of a side's turn; turns of a side in a pair, and those by which the fastest variant is chosen."""
WARM = 6
"""Marks after which a side is steady: malloc has found its places, files are in the cache."""
AHEAD = 4
"""Batches that two loader processes keep ready: so many steps at either end of an epoch are not steady."""
ALIKE = ", set as cvflow"
"""Ends the name of a bare loop with cvflow's malloc and its threads' waiting; else it is as Python
and torch come.
"""
WAITING = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
SETTINGS = "malloc and threads of the bare loop"
ABOUT_SETTINGS = (
    "cvflow's malloc keeps what is freed, and its threads look for work a "
    "while before they sleep: a bare loop is measured as Python and "
    "torch come, which is what the bar is about, and with the same settings."
)
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
        """Holds the median ratio with at least 94 % confidence, from 5 pairs on: their least and
        greatest, of more further in.
        """
        ordered, count = sorted(self.ratios), len(self.ratios)
        tails = accumulate(2 * comb(count, i) / 2**count for i in range(count))
        out = max(0, sum(tail <= 1 / 16 for tail in tails) - 1)
        return ordered[out], ordered[-1 - out]

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.ratio:.3f} ({low:.3f} to {high:.3f})"

    def rows(self) -> list[list[object]]:
        """Number of the pair, ours, theirs, ratio: the lines of a table."""
        return [
            [i + 1, a, b, f"{a / b:.3f}"] for i, (a, b) in enumerate(zip(self.ours, self.theirs, strict=True))
        ]


def in_pairs(ours: Callable[[], float], theirs: Callable[[], float], pairs: int = 5) -> Pairs:
    """Both sides ``pairs`` times, in turn; each gives what it measured.

    Warm up before, where a side needs it.
    """
    measured = [(ours(), theirs()) for _ in range(pairs)]
    return Pairs(*zip(*measured, strict=True))


class Side:
    """A program without end that computes in its turns alone: else it stands still, and all
    processes below it (SIGSTOP).

    which: ``cvflow``, or the name of a bare loop.

    It marks what it has done by lines ``[epoch, images, time.time()]`` in a file, where it is
    steady: not at an epoch's ends.
    """

    def __init__(self, which: str, command: Sequence[str], marks: Path, **environment: str) -> None:
        self._file, self._read = marks, 0
        self._log = marks.with_suffix(".log").open("wb")
        plain = {name: value for name, value in os.environ.items() if name not in WAITING}
        waiting = {WAITING[0]: SPINS} if as_cvflow(which) else {}
        self._process = subprocess.Popen(
            command, stdout=self._log, stderr=self._log, env={**plain, **waiting, **environment}
        )

    def __enter__(self) -> Side:
        """Started, warm, and standing still."""
        seen = 0
        while seen < WARM:
            time.sleep(0.05)
            seen += sum(1 for _ in self._news())
        self._signal(signal.SIGSTOP)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._signal(signal.SIGKILL)
        self._process.wait()
        self._log.close()

    def turn(self, seconds: float) -> float:
        """Images/s over a stretch of at least so long within an epoch."""
        self._news()  # what it did before it stopped
        self._signal(signal.SIGCONT)
        marks: list[list[float]] = []
        while not marks or marks[-1][2] - marks[0][2] < seconds:
            for mark in self._news():
                marks = [*marks, mark] if marks and mark[0] == marks[-1][0] else [mark]
            time.sleep(0.01)
        self._signal(signal.SIGSTOP)
        return (marks[-1][1] - marks[0][1]) / (marks[-1][2] - marks[0][2])

    def _news(self) -> Iterator[list[float]]:
        if self._process.poll() is not None:
            sys.exit(f"a side ended:\n{Path(self._log.name).read_text()[-3000:]}")
        if not self._file.exists():
            return iter(())
        with self._file.open("rb") as file:
            file.seek(self._read)
            new = file.read()
        whole = new[: new.rfind(b"\n") + 1]
        self._read += len(whole)
        return map(json.loads, whole.splitlines())

    def _signal(self, number: int) -> None:
        root = psutil.Process(self._process.pid)
        for process in [root, *root.children(recursive=True)]:
            with suppress(psutil.Error):
                process.send_signal(number)


def as_cvflow(which: str) -> bool:
    """Whether a side has cvflow's malloc and waiting."""
    return which == "cvflow" or which.endswith(ALIKE)


def compute(which: str, threads: int) -> None:
    """At the start of a side's process."""
    (compute_on if as_cvflow(which) else torch.set_num_threads)(threads)


@dataclass(frozen=True)
class Marks:
    """The file in which a side marks its steps. steps: of an epoch; images: of a step."""

    file: Path
    steps: int
    images: int

    def step(self, epoch: int, at: int) -> None:
        """at: steps done in the epoch."""
        if AHEAD < at <= self.steps - AHEAD:
            with self.file.open("a") as file:
                file.write(json.dumps([epoch, at * self.images, time.time()]) + "\n")


def alternating(sides: Sequence[Callable[[Path], Side]], turns: int) -> list[list[float]]:
    """Images/s of each side's turns, the sides in new processes, one turn after the other in a
    changing order.
    """
    found: list[list[float]] = [[] for _ in sides]
    # so that they end with this process
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with TemporaryDirectory() as folder, ExitStack() as stack:
        running = [stack.enter_context(side(Path(mkdtemp(dir=folder)) / "marks")) for side in sides]
        for number in range(turns):
            for which in list(range(len(sides)))[:: 1 if number % 2 else -1]:
                found[which].append(running[which].turn(SECONDS))
    return found


def against_the_fastest(
    side: Callable[[str], Callable[[Path], Side]], theirs: Sequence[str], pairs: int
) -> tuple[dict[str, float], Pairs, Pairs]:
    """(images/s of each of theirs, cvflow's pairs with the fastest, and with the fastest set as cvflow).

    Each pair is of new processes, TURNS each: where its memory lies makes a process some percent
    faster or slower.
    """
    tried = alternating(list(map(side, theirs)), TRIED) if len(theirs) > 1 else [[0.0]]
    speeds = dict(zip(theirs, map(statistics.median, tried), strict=True))
    print({name: round(speed, 1) for name, speed in speeds.items()}, flush=True)
    best = max(speeds, key=lambda name: speeds[name])
    sides = [side("cvflow"), side(best), side(best + ALIKE)]
    found = [tuple(map(statistics.median, alternating(sides, TURNS))) for _ in range(pairs)]
    ours, plain, alike = zip(*found, strict=True)
    return speeds, Pairs(ours, plain), Pairs(ours, alike)


def both_rows(plain: Pairs, alike: Pairs) -> list[list[object]]:
    """What the bare loop's settings are, images/s of cvflow and of it, ratio: the lines of a table."""
    named = (("as Python and torch come", plain), ("as cvflow's", alike))
    return [
        [name, statistics.median(found.ours), statistics.median(found.theirs), f"**{found}**"]
        for name, found in named
    ]


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; numbers with four digits."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(
        "| " + " | ".join(f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in line) + " |"
        for line in lines
    )


def write_results(name: str, title: str, *parts: str, keep: bool = True) -> Path:
    """``results/<name>.md``: the parts, then the command, the versions and the machine.

    Printed as well; keep: else only printed.
    """
    text = "\n\n".join([f"# {title}", *parts, conditions()]) + "\n"
    path = RESULTS / f"{name}.md"
    if keep:
        RESULTS.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    print(text)
    return path


def conditions() -> str:
    """The command, date, versions and machine."""
    typed = [
        Path(word).name if os.path.isabs(word) else word for word in sys.argv[1:]
    ]  # where it lies is this machine's own
    command = shlex.join(["python", SCRIPT, *typed])
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    load = f"load {os.getloadavg()[0]:.1f} at the end"
    machine = f"{os.cpu_count()} cores ({processor()}), {platform.system()} {platform.machine()}, {load}"
    return f"`{command}`, {date.today()}\n\nPython {platform.python_version()}, {packages}. {machine}."


def processor() -> str:
    """The processor's name, where the system tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")),
        platform.processor(),
    )
