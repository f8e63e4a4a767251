"""The price of ``cvflow tune``: 32 trials of about 5 s, Ray's start included, against the same trainings in a bare loop."""

from __future__ import annotations

import sys
import tempfile
import time
from contextlib import chdir
from pathlib import Path
from typing import Any

import yaml
from measure import table, write_results

from cvflow.config import Compute, Recipe
from cvflow.data.dataset import PreparedDataset
from cvflow.engine.checkpoint import CheckpointStore
from cvflow.engine.history import History
from cvflow.engine.loop import train
from cvflow.runtime.console import Console
from cvflow.runtime.local import LocalSession
from cvflow.stages.search import search
from cvflow.stages.tune.trial_recipe import trial_recipe

AT_ONCE = 2
OVERRIDES = {"train.epochs": 8, "compute.threads": 1, "compute.device": "cpu", "search.concurrency": AT_ONCE}


def main(trials: int) -> None:
    """Search over seeds alone, so that every trial takes as long as another."""
    seeds = list(range(trials))
    with tempfile.TemporaryDirectory() as scratch, chdir(scratch):
        overrides = OVERRIDES | {"seed": f"grid({','.join(map(str, seeds))})", "search.algorithm": "grid"}
        search("digits", overrides | {"seed": "grid(1000)"}, "warm")  # prepares the data, and loads what is on disk
        started = time.perf_counter()
        found = search("digits", overrides, "warm")
        wall = time.perf_counter() - started
        assert len(found.trials) == trials
        alone = [bare(Path("runs/warm"), seed) for seed in seeds]
    ideal = sum(alone) / AT_ONCE
    inside = sum(trial["seconds"] for trial in found.trials)
    rows = [
        ["bare loop, a trial", sum(alone) / trials],
        ["bare loop, sum", sum(alone)],
        [f"ideal, sum / {AT_ONCE}", ideal],
        ["cvflow tune, wall", wall],
        ["wall / ideal", wall / ideal],
        ["overhead a trial", (wall - ideal) / trials],
        ["of it within trials", (inside - sum(alone)) / AT_ONCE / trials],
    ]
    write_results(
        "tune",
        "cvflow tune against a bare loop",
        f"{trials} trials, {AT_ONCE} at once, a thread each.",
        table(["what", "seconds, or their ratio"], rows),
    )


def bare(run: Path, seed: int) -> float:
    """Seconds of one training in this process."""
    base: dict[str, Any] = yaml.safe_load((run / "recipe.yaml").read_text())
    recipe = trial_recipe(base, {"seed": seed})
    dataset, folder = PreparedDataset(run / "data"), Path(f"bare{seed}")
    with Path("said.txt").open("w") as said:
        started = time.perf_counter()
        store, history = CheckpointStore(folder / "checkpoints"), History(folder / "history.jsonl")
        session = LocalSession(Compute(threads=1, device="cpu"), store, history, Console(said))
        train(Recipe.model_validate(recipe), dataset, session)
        return time.perf_counter() - started


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 32)
