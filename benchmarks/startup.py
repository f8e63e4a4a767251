"""From the start of a training to its first step: one worker as ``cvflow stage train``, two on Ray
split into their parts.

python benchmarks/startup.py [TIMES] [CLONE]; CLONE: a work tree of another revision (after ``ln -s
../cli CLONE/cvflow/cli``), whose start on two workers is measured in turn.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

RECIPE: dict[str, Any] = {
    "task": "classification",
    "data": {"format": "digits"},
    "image": {"size": (16, 16), "channels": 1},
    "model": {"name": "classifier"},
    "train": {"epochs": 1, "batch_size": 32},
    "tracking": {"every": 1},
    "compute": {"threads": 1, "device": "cpu"},
}
ROOT = Path(__file__).parents[1]
CVFLOW = str(Path(sys.executable).parent / "cvflow")
BAR = 5.0
"""Seconds, of one worker."""


def first_step(session: Any, recipe: dict[str, Any], dataset: str) -> dict[str, float]:
    """Train up to the first step; when this process was born, when the work began, when the step
    was done (seconds since the epoch).
    """
    import psutil

    from cvflow.config import Recipe
    from cvflow.dataset.prepared import PreparedDataset
    from cvflow.engine.loop import train
    from cvflow.errors import InterruptedRunError

    began, stepped = time.time(), 0.0

    def should_stop() -> bool:
        nonlocal stepped
        stepped = stepped or time.time()
        return True

    session.should_stop = should_stop
    with suppress(InterruptedRunError):
        train(Recipe.model_validate(recipe), PreparedDataset(Path(dataset)), session)
    return {"born": psutil.Process().create_time(), "began": began, "stepped": stepped}


def child(workers: int, dataset: str) -> dict[str, float]:
    """The seconds of each part, measured in a process of its own."""
    import psutil

    born = psutil.Process().create_time()
    from cvflow.config import Recipe

    recipe = Recipe.model_validate(RECIPE)
    compute = recipe.compute.model_copy(update={"workers": workers})
    parts = connected(compute, born) if workers else {}
    from cvflow.runtime.launch import launch

    launched = time.time()
    parts |= {"python, imports": launched - born} if not workers else {}
    with tempfile.TemporaryDirectory() as root:
        arguments = {"recipe": recipe.model_dump(mode="json", by_alias=True), "dataset": dataset}
        at = launch(
            first_step, compute, Path(root) / "checkpoints", Path(root) / "history.jsonl", **arguments
        )
    if workers:
        parts["controller, until a worker is born"] = at["born"] - launched
        parts["worker: imports, process group"] = at["began"] - at["born"]
    parts["dataset, model, first step"] = at["stepped"] - (at["began"] if workers else launched)
    return {**parts, "all": at["stepped"] - born}


def connected(compute: Any, born: float) -> dict[str, float]:
    """As a stage does: Ray starts while torch and Ray Train are imported."""
    import ray  # noqa: F401

    from cvflow.runtime.cluster import connect

    began = time.time()
    connect(compute, meanwhile=["cvflow.stages.train", "cvflow.runtime.ray_train"])
    return {
        "python, imports of Ray": began - born,
        "ray.init, beside it all other imports": time.time() - began,
    }


def measured(workers: int, dataset: str, times: int) -> dict[str, list[float]]:
    """Each part's seconds, a run each."""
    command = [sys.executable, __file__, "child", str(workers), dataset]
    runs = [
        json.loads(
            subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
        )
        for _ in range(times)
    ]
    return {part: [run[part] for run in runs] for part in runs[0]}


def stage(project: Path, workers: int, times: int, trees: tuple[Path, ...] = (ROOT,)) -> list[list[float]]:
    """Of each work tree the seconds from the start of ``cvflow stage train`` to its first reported
    step, MLflow beginning beside it.
    """
    sides = [ready(project / str(number), workers, tree) for number, tree in enumerate(trees)]
    rounds = [[begun(*side) for side in sides] for _ in range(times)]
    return [list(seconds) for seconds in zip(*rounds, strict=True)]


def ready(project: Path, workers: int, tree: Path) -> tuple[Path, dict[str, str]]:
    """A prepared project of the work tree, and the environment in which its cvflow runs."""
    import yaml

    project.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    (project / "r.yaml").write_text(
        yaml.safe_dump(
            {
                **RECIPE,
                "image": {"size": [16, 16], "channels": 1},
                "compute": {**RECIPE["compute"], "workers": workers},
            }
        )
    )
    (project / "params.yaml").write_text(
        yaml.safe_dump({"runs": {"r": {"recipe": "r.yaml", "source": "r.yaml", "overrides": {}}}})
    )
    for name in ("resolve", "prepare"):
        subprocess.run(
            [CVFLOW, "stage", name, "r"], cwd=project, env=environment, check=True, capture_output=True
        )
    return project, environment


def begun(project: Path, environment: dict[str, str]) -> float:
    """The first step's point carries its time; it is read once the stage is done."""
    from cvflow.engine.history import read_history

    started = time.time()
    subprocess.run(
        [CVFLOW, "stage", "train", "r"], cwd=project, env=environment, check=True, capture_output=True
    )
    return next(read_history(project / "runs/r/history.jsonl"))[1].time - started


def revision(tree: Path) -> str:
    return subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=tree, check=True, capture_output=True, text=True
    ).stdout.strip()


def spread(seconds: list[float]) -> tuple[float, float, float]:
    return statistics.median(seconds), min(seconds), max(seconds)


def main(times: int, *former: Path) -> int:
    """Print the tables; 1 where one worker takes longer than the bar."""
    from measure import table, write_results

    with tempfile.TemporaryDirectory() as folder:
        (whole,) = stage(Path(folder, "one"), 0, times)
        spread_out, *before = stage(Path(folder, "two"), 2, times, (ROOT, *former))
        one, two = (measured(workers, str(Path(folder) / "one/0/runs/r/data"), times) for workers in (0, 2))
    stages = [["one worker", *spread(whole)], ["two workers on a local Ray", *spread(spread_out)]]
    stages += [
        [f"two workers at revision {revision(tree)}, in turn", *spread(s)]
        for tree, s in zip(former, before, strict=True)
    ]
    columns = ("part", "median s", "least s", "greatest s")
    rows = {n: [[part, *spread(v)] for part, v in found.items()] for n, found in ((1, one), (2, two))}
    write_results(
        "startup",
        "Start of a training to its first step",
        f"`cvflow stage train`, process start to first step, of one worker at most {BAR} s:\n\n"
        + table(columns, stages),
        f"One worker, in this process:\n\n{table(columns, rows[1])}",
        f"Two workers on a local Ray:\n\n{table(columns, rows[2])}",
    )
    return int(statistics.median(whole) > BAR)


if __name__ == "__main__":
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if sys.argv[1:2] == ["child"]:
        print(json.dumps(child(int(sys.argv[2]), sys.argv[3])))
    else:
        sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 3, *map(Path, sys.argv[2:])))
