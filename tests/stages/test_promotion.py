"""The promotion rule on plain numbers, and which way a figure of each task is better."""

from __future__ import annotations

import pytest

from cvflow import registry
from cvflow.answers.base import objective_of
from cvflow.config import Promote, Recipe
from cvflow.errors import RequestError
from cvflow.stages.register.promotion import Standing, decide, promotion_objective
from cvflow.tasks.base import Task
from cvflow.types import DatasetInfo, Objective

LOWER = {"epe", "bad1", "bad3", "d1", "fl", "equal_error_rate", "log_loss", "calibration_error"}
"""Of the figures of all tasks those that are better low."""
ACCURACY, LOSS = Objective("accuracy", "max"), Objective("loss", "min")


@pytest.mark.parametrize(
    ("threshold", "objective", "score", "champion", "promoted", "reason"),
    [
        pytest.param(None, ACCURACY, 0.5, None, True, "champion: accuracy 0.5000", id="the first"),
        pytest.param(
            None,
            ACCURACY,
            0.9,
            0.8,
            True,
            "champion: accuracy 0.9000, the former champion's 0.8000",
            id="better",
        ),
        pytest.param(None, ACCURACY, 0.8, 0.8, True, "champion: accuracy 0.8000, the former", id="as good"),
        pytest.param(
            None,
            ACCURACY,
            0.7,
            0.8,
            False,
            "challenger: accuracy 0.7000 is not as good as the champion's 0.8000",
            id="worse",
        ),
        pytest.param(
            0.95,
            ACCURACY,
            0.94,
            None,
            False,
            "challenger: accuracy 0.9400 does not reach the threshold 0.95",
            id="too low",
        ),
        pytest.param(0.95, ACCURACY, 0.95, None, True, "champion", id="just reached"),
        pytest.param(0.95, ACCURACY, 0.96, 0.97, False, "not as good", id="reached, and worse"),
        pytest.param(0.3, LOSS, 0.2, 0.25, True, "champion: loss 0.2000", id="a lower loss"),
        pytest.param(0.3, LOSS, 0.4, None, False, "does not reach the threshold 0.3", id="too high a loss"),
        pytest.param(None, LOSS, 0.4, 0.3, False, "not as good", id="a higher loss"),
        pytest.param(None, ACCURACY, float("nan"), 0.1, False, "challenger", id="no number"),
        pytest.param(0.5, ACCURACY, float("nan"), None, False, "challenger", id="no number, a threshold"),
    ],
)
def test_the_rule(
    threshold: float | None,
    objective: Objective,
    score: float,
    champion: float | None,
    promoted: bool,
    reason: str,
) -> None:
    decision = decide(
        Promote(threshold=threshold),
        objective,
        {objective.metric: score},
        None if champion is None else Standing(champion),
    )
    assert decision.promoted == promoted
    assert reason in decision.reason


def asked(task: str, metric: str | None) -> tuple[Recipe, Task, DatasetInfo]:
    promote = {"promote": {"metric": metric}}
    recipe = Recipe.model_validate({"task": task, "data": {"format": "digits"}, "register": promote})
    info = DatasetInfo(task, tuple("abcdefgh"), {"train": 2}, (0.5,), (0.25,), "0" * 32)
    made: Task = registry.build("task", recipe.task)
    return recipe, made, info


@pytest.mark.parametrize("task", registry.names("task"))
def test_each_figure_of_a_task_is_better_the_way_its_metric_says(task: str) -> None:
    recipe, made, info = asked(task, None)
    made.bind(info)
    own, figures = objective_of(made.answer), made.answer.metric(info).compute()
    assert promotion_objective(recipe, made, figures) == own
    assert [name for name in made.answer.figures if name in figures] == list(made.answer.figures)
    for name in figures:
        expected = Objective(name, "min" if name in LOWER else "max")
        assert promotion_objective(*asked(task, name)[:2], figures) == expected
        assert name != own.metric or own == expected
    loss = {"box_loss": 1.0}
    assert promotion_objective(*asked(task, "box_loss")[:2], figures | loss) == ("box_loss", "min")


def test_a_worse_error_is_no_champion() -> None:
    objective = promotion_objective(*asked("stereo", "bad3")[:2], {"epe": 1.0, "bad3": 0.2})
    assert not decide(Promote(threshold=0.1), objective, {"bad3": 0.2}, None).promoted
    assert not decide(Promote(), objective, {"bad3": 0.2}, Standing(0.1)).promoted
    assert decide(Promote(threshold=0.3), objective, {"bad3": 0.2}, Standing(0.25)).promoted


def test_a_figure_that_is_not_measured_is_refused() -> None:
    with pytest.raises(
        RequestError, match="register.promote.metric: got 'bad33', expected .* Did you mean 'bad3'"
    ):
        promotion_objective(*asked("stereo", "bad33")[:2], {"epe": 1.0, "bad3": 0.2})
