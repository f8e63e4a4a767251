"""What evaluate, register and predict will ask for is checked before anything is trained."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

import cvflow.project.project as projects
from cvflow.errors import RequestError
from cvflow.project.graph import Run
from cvflow.stages.prepare import prepare
from cvflow.stages.resolve import resolve
from cvflow.stages.train import train


@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")
@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"data.split.test": 0}, "split 'test': got no rows, expected a filled split: train, val"),
    ],
)
def test_a_run_that_could_not_end_does_not_begin(overrides: dict[str, Any], said: str, project: Path) -> None:
    recipe = projects.adopt(projects.locate("digits"))
    projects.write_entry("digits", projects.make_entry(recipe, overrides))
    run = Run("digits")
    resolve(run)
    prepare(run)
    start = time.monotonic()
    with pytest.raises(RequestError, match=said):
        train(run)
    assert time.monotonic() - start < 20
    assert not run.path("model").exists()


def test_one_process_at_a_time_is_inside(project: Path) -> None:
    import fcntl

    with (
        projects.locked("train-abc"),
        (project / ".cvflow" / "train-abc.lock").open("w") as other,
        pytest.raises(BlockingIOError),
    ):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
