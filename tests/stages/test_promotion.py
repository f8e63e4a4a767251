"""The promotion rule on plain numbers."""

from __future__ import annotations

import pytest

from cvflow.config import Promote
from cvflow.stages.promotion import Standing, decide
from cvflow.types import Objective

ACCURACY, LOSS = Objective("accuracy", "max"), Objective("loss", "min")


@pytest.mark.parametrize(
    ("threshold", "objective", "score", "champion", "promoted", "reason"),
    [
        pytest.param(None, ACCURACY, 0.5, None, True, "champion: accuracy 0.5000", id="the first"),
        pytest.param(None, ACCURACY, 0.9, 0.8, True, "champion: accuracy 0.9000, the former champion's 0.8000", id="better"),
        pytest.param(None, ACCURACY, 0.8, 0.8, True, "champion: accuracy 0.8000, the former", id="as good"),
        pytest.param(None, ACCURACY, 0.7, 0.8, False, "challenger: accuracy 0.7000 is not as good as the champion's 0.8000", id="worse"),
        pytest.param(0.95, ACCURACY, 0.94, None, False, "challenger: accuracy 0.9400 does not reach the threshold 0.95", id="too low"),
        pytest.param(0.95, ACCURACY, 0.95, None, True, "champion", id="just reached"),
        pytest.param(0.95, ACCURACY, 0.96, 0.97, False, "not as good", id="reached, and worse"),
        pytest.param(0.3, LOSS, 0.2, 0.25, True, "champion: loss 0.2000", id="a lower loss"),
        pytest.param(0.3, LOSS, 0.4, None, False, "does not reach the threshold 0.3", id="too high a loss"),
        pytest.param(None, LOSS, 0.4, 0.3, False, "not as good", id="a higher loss"),
        pytest.param(None, ACCURACY, float("nan"), 0.1, False, "challenger", id="no number"),
        pytest.param(0.5, ACCURACY, float("nan"), None, False, "challenger", id="no number, a threshold"),
    ],
)
def test_the_rule(threshold: float | None, objective: Objective, score: float, champion: float | None, promoted: bool, reason: str) -> None:
    decision = decide(Promote(threshold=threshold), objective, {objective.metric: score}, None if champion is None else Standing(champion))
    assert decision.promoted == promoted
    assert reason in decision.reason
