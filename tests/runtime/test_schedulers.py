"""What stands between Tune and the conductor, without a Ray: schedulers whose stop is a request,
draws that are seeded.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cvflow.engine.search.conductor import Conductor
from cvflow.engine.search.space import Space
from cvflow.registry import build
from cvflow.runtime.schedulers import EPOCH, SCORE
from cvflow.runtime.trial import STOP
from cvflow.runtime.tune_adapters import Asker, Before, Gentle
from cvflow.space import Search
from cvflow.types import Objective


def conduct(folder: Path, values: list[float], **options: Any) -> Conductor:
    search = Search.model_validate({"space": {"train.optimizer.lr": values}, "algorithm": "grid", **options})
    return Conductor(
        search,
        Objective("accuracy", "max"),
        build("searcher", search.algorithm, Space(search.space, {}), 0),
        folder,
    )


def test_what_a_trial_reports_once_it_is_asked_to_stop_is_nothing_to_the_scheduler(tmp_path: Path) -> None:
    """One on several workers does not wait for the answer; Ray's median rule cannot hear more of a
    trial that it has ended.
    """
    conductor = conduct(tmp_path / "search", [0.9, 0.1], scheduler={"name": "median", "grace": 1, "least": 1})
    asker = Asker(conductor, dict)
    gentle = Gentle(build("scheduler", conductor.search.scheduler, 9, conductor.search.space), asker, 1.0)
    nobody: Any = None
    for name in ("good", "bad"):
        trial: Any = Before(name)
        score = asker.suggest(name)["params"]["train.optimizer.lr"]
        conductor.trial_folder(asker.numbers[name]).mkdir(parents=True)
        gentle.on_trial_add(nobody, trial)
        said = [gentle.on_trial_result(nobody, trial, {EPOCH: epoch, SCORE: score}) for epoch in (1, 2, 3)]
        assert said == [gentle.CONTINUE] * 3
    assert [(conductor.trial_folder(number) / STOP).exists() for number in (0, 1)] == [False, True]
