"""Windows of training losses, and the stop where a loss is no number."""

from __future__ import annotations

import math

import pytest
import torch

from cvflow.engine.meter import Meter
from cvflow.errors import CvflowError

NAMES = ("loss", "extra")


def fed(meter: Meter, losses: list[float], first: int = 1) -> list[bool]:
    return [
        meter.add(first + i, NAMES, torch.tensor([loss, 10 * loss], dtype=torch.float32), lr=0.1 * (first + i))
        for i, loss in enumerate(losses)
    ]


def test_a_window_is_averaged_and_dated_at_its_last_step() -> None:
    meter = Meter(every=3, batch_size=8)
    assert fed(meter, [1, 2, 6, 4, 8]) == [False, False, True, False, False]
    assert meter.last["loss"] == 3
    points = meter.flush()  # closes the open window of two
    assert [p.step for p in points] == [3, 5]
    assert [p.metrics["loss"] for p in points] == [3, 6]
    assert [p.metrics["extra"] for p in points] == [30, 60]
    assert [p.metrics["lr"] for p in points] == pytest.approx([0.3, 0.5])


def test_flush_hands_each_point_over_once() -> None:
    meter = Meter(every=2, batch_size=8)
    fed(meter, [1, 1])
    assert len(meter.flush()) == 1
    assert meter.flush() == []
    fed(meter, [2, 2], first=3)
    assert [p.step for p in meter.flush()] == [4]


def test_every_step() -> None:
    meter = Meter(every=1, batch_size=8)
    assert fed(meter, [1, 2]) == [True, True]
    assert [p.metrics["loss"] for p in meter.flush()] == [1, 2]


def test_the_speed_counts_images_since_the_restart() -> None:
    meter = Meter(every=10, batch_size=8)
    fed(meter, [1, 1])
    assert meter.images == 16
    assert meter.speed > 0
    meter.restart()
    assert meter.images == 0
    assert meter.speed == 0


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_no_number_ends_the_training(bad: float) -> None:
    meter = Meter(every=2, batch_size=8)
    fed(meter, [1])
    with pytest.raises(CvflowError, match=r"not finite at step 2.*lower train\.optimizer\.lr") as caught:
        fed(meter, [bad], first=2)
    assert caught.value.exit_code == 1


def test_an_open_window_is_looked_at_too() -> None:
    meter = Meter(every=100, batch_size=8)
    fed(meter, [1, math.nan])
    with pytest.raises(CvflowError, match="not finite at step 2"):
        meter.flush()
