"""Windows of training losses, and the stop where a loss is no number."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable

import pytest
import torch

from cvflow.engine.meter import Clock, Meter, NotFiniteError

NAMES = ("loss", "extra")


def fed(meter: Meter, losses: list[float], first: int = 1) -> list[bool]:
    return [
        meter.add(
            first + i, NAMES, torch.tensor([loss, 10 * loss], dtype=torch.float32), lr=0.1 * (first + i)
        )
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


def test_a_window_ends_where_the_step_says_so() -> None:
    """Wherever a training was broken off, its windows are those of the unbroken one."""
    meter = Meter(every=3, batch_size=8)
    assert fed(meter, [1, 5], first=2) == [False, True]
    assert [p.step for p in meter.take()] == [3]


def test_an_open_window_goes_on_elsewhere() -> None:
    whole, broken = Meter(every=3, batch_size=8), Meter(every=3, batch_size=8)
    fed(whole, [0.1, 0.7, 0.2])
    fed(broken, [0.1, 0.7])
    resumed = Meter(every=3, batch_size=8)
    resumed.restore(json.loads(json.dumps(broken.state())), torch.device("cpu"))
    fed(resumed, [0.2], first=3)
    assert [p.metrics for p in resumed.take()] == [p.metrics for p in whole.take()]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_no_number_is_named_by_its_step(bad: float) -> None:
    meter = Meter(every=4, batch_size=8)
    with pytest.raises(NotFiniteError, match="not finite at step 2") as caught:
        fed(meter, [1, bad, bad, 1])
    assert (caught.value.step, caught.value.exit_code) == (2, 1)


@pytest.mark.parametrize("look", [Meter.take, Meter.flush])
def test_an_open_window_is_looked_at_too(look: Callable[[Meter], object]) -> None:
    meter = Meter(every=100, batch_size=8)
    fed(meter, [1, math.nan])
    with pytest.raises(NotFiniteError, match="not finite at step 2"):
        look(meter)


def test_the_laps_of_a_clock() -> None:
    clock = Clock(torch.device("cpu"))
    time.sleep(0.02)
    clock.lap("data")
    clock.lap("forward")
    time.sleep(0.01)
    clock.lap("data")
    seconds = clock.seconds()
    assert list(seconds) == ["seconds_data", "seconds_forward"]
    assert seconds["seconds_data"] >= 0.03 > seconds["seconds_forward"]
    clock.restart()
    assert clock.seconds() == {}
