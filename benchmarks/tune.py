"""The price of ``cvflow tune``: 32 trials of about 5 s against the same trainings in bare loops,
alone and two side by side.

Equal threads are two loops side by side: a loop alone has the machine's other core, its caches and
its memory for itself.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import chdir
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import yaml
from measure import table, write_results

from cvflow.config import Compute, Recipe
from cvflow.dataset.prepared import PreparedDataset
from cvflow.engine.checkpoint import CheckpointStore
from cvflow.engine.history import History
from cvflow.engine.loop import train
from cvflow.runtime.console import Console
from cvflow.runtime.local import LocalSession
from cvflow.stages.tune.trial_recipe import trial_recipe

TRIALS, AT_ONCE = 32, 2
BARE = 3
"""Trainings in the bare loop before each search, and as many after it: machines have moods, and
these are of the same hour.
"""
ABOUT = 5.5
"""Seconds of a training, by which its epochs are chosen."""
OVERRIDES: dict[str, Any] = {
    "train.epochs": 10,
    "compute.threads": 1,
    "compute.device": "cpu",
    "search.concurrency": AT_ONCE,
    "search.algorithm": "grid",
}
RUN = Path("runs/warm")


def main(rounds: int) -> None:
    """Search over seeds alone, so that every trial takes as long as another."""
    with tempfile.TemporaryDirectory() as scratch, chdir(scratch):
        searched(range(1000, 1001))  # prepares the data, and loads what is on disk
        OVERRIDES["train.epochs"] = round(OVERRIDES["train.epochs"] * ABOUT / bare(1000, 1000)[-1])
        searched(range(1001, 1002))  # writes the recipe that all read
        rows = [measured(range(TRIALS * at, TRIALS * (at + 1))) for at in range(rounds)]
    names = (
        "cvflow tune, wall",
        f"bare loop, a trial, {AT_ONCE} loops at once",
        f"ideal, {TRIALS} / {AT_ONCE} of it",
        "**wall / ideal**",
        "overhead a trial",
        "bare loop, a trial, one loop alone",
        f"wall / ({TRIALS} / {AT_ONCE} of that)",
        "a trial of the search, with the start of its process",
    )
    columns = list(zip(*rows, strict=True))
    found = [[name, statistics.median(c), min(c), max(c)] for name, c in zip(names, columns, strict=True)]
    write_results(
        "tune",
        "cvflow tune against a bare loop",
        f"{TRIALS} trials of {OVERRIDES['train.epochs']} epochs, {AT_ONCE} at "
        f"once, a thread each, Ray's start included; {rounds} rounds. "
        f"In each, {BARE} trainings in a bare loop alone before and {BARE} "
        f"after, and {AT_ONCE} such loops side by side, whose cores are "
        "shared as those of the trials are: of these is the ideal.",
        table(["seconds, or their ratio", "median", "least", "greatest"], found),
    )


def measured(seeds: range) -> list[float]:
    """A round's figures, in the order of the table."""
    before = bare(*seeds[:BARE])
    wall, inside = searched(seeds)
    one = statistics.mean([*before, *bare(*seeds[-BARE:])])
    with ProcessPoolExecutor(AT_ONCE, get_context("spawn")) as loops:
        list(loops.map(bare, [seeds[0]] * AT_ONCE))  # the first loads torch
        beside = [
            seconds
            for took in loops.map(bare, *zip(seeds[:BARE], seeds[BARE : 2 * BARE], strict=True))
            for seconds in took
        ]
    fair = statistics.mean(beside)
    ideal = fair * TRIALS / AT_ONCE
    return [
        wall,
        fair,
        ideal,
        wall / ideal,
        (wall - ideal) / TRIALS,
        one,
        wall / (one * TRIALS / AT_ONCE),
        inside / TRIALS,
    ]


def searched(seeds: range) -> tuple[float, float]:
    """Seconds of the command that searches over the seeds, and of all its trials together."""
    started = time.perf_counter()
    settings = {**OVERRIDES, "seed": f"grid({','.join(map(str, seeds))})"}
    typed = [
        sys.executable,
        "-m",
        "cvflow.cli",
        "tune",
        "digits",
        "--name",
        RUN.name,
        *(f"{k}={v}" for k, v in settings.items()),
    ]
    subprocess.run(typed, check=True, capture_output=True)
    wall = time.perf_counter() - started
    trials = json.loads((RUN / "search" / "trials.json").read_text())["trials"]
    assert len(trials) == len(seeds)
    return wall, sum(trial["seconds"] for trial in trials)


def bare(*seeds: int) -> list[float]:
    """Seconds of each training, one after the other in this process."""
    return [trained(seed) for seed in seeds]


def trained(seed: int) -> float:
    base: dict[str, Any] = yaml.safe_load((RUN / "recipe.yaml").read_text())
    recipe = trial_recipe(base, {"seed": seed})
    dataset = PreparedDataset(RUN / "data")
    with tempfile.TemporaryDirectory() as folder, Path(folder, "said.txt").open("w") as said:
        started = time.perf_counter()
        store, history = (
            CheckpointStore(Path(folder) / "checkpoints"),
            History(Path(folder) / "history.jsonl"),
        )
        session = LocalSession(Compute(threads=1, device="cpu"), store, history, Console(said))
        train(Recipe.model_validate(recipe), dataset, session)
        return time.perf_counter() - started


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
