"""The learning-rate range test: what it suggests from a curve, and on real digits."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from cvflow.config import Recipe
from cvflow.dataset.prepared import PreparedDataset
from cvflow.engine.job import make_job
from cvflow.engine.lr_find import RangeTest, lr_find, suggested
from cvflow.errors import CvflowError, InterruptedRunError, RequestError

Make = Callable[..., Any]


def curve(loss: Callable[[float], float], steps: int = 100) -> tuple[list[float], list[float]]:
    lrs = [1e-6 * 1e7 ** (i / (steps - 1)) for i in range(steps)]
    return lrs, [loss(math.log10(lr)) for lr in lrs]


def test_the_steepest_descent_and_a_tenth_of_the_least() -> None:
    # a fall around 1e-3, the least at 1e-1, then a rise
    found = suggested(
        *curve(lambda e: 2 - 1.5 / (1 + math.exp(-4 * (e + 3))) + (0 if e < -1 else 3 * (e + 1) ** 2)),
        diverged=False,
    )
    assert found.steepest == pytest.approx(1e-3, rel=0.3)
    assert found.tenth == pytest.approx(1e-2, rel=0.5)
    assert len(found.lrs) == len(found.losses) == len(found.smoothed) == 100


def test_noise_does_not_mislead() -> None:
    noise = iter((torch.rand(100, generator=torch.Generator().manual_seed(0)) * 0.2).tolist())
    found = suggested(*curve(lambda e: 2 - 1.5 / (1 + math.exp(-4 * (e + 3))) + next(noise)), diverged=False)
    assert found.steepest == pytest.approx(1e-3, rel=2)


@pytest.mark.parametrize("losses", [[], [1.0], [1.0, 2.0, 3.0, 4.0], [1.0] * 20])
def test_a_loss_that_never_falls_gives_no_suggestion(losses: list[float]) -> None:
    with pytest.raises(
        CvflowError, match=f"did not clearly fall over {len(losses)} steps; type a smaller --min"
    ):
        suggested([0.1] * len(losses), losses, diverged=True)


def found(digits: PreparedDataset, recipe: Callable[..., Recipe], session: Make, **train: Any) -> RangeTest:
    options = {"batch_size": 32, "optimizer": "sgd", "schedule": "constant", **train}
    return lr_find(make_job(recipe(**options), digits, session()), 1e-5, 10.0, 60)


def test_digits_give_a_usable_rate_twice_the_same(
    digits: PreparedDataset, recipe: Callable[..., Recipe], session: Make
) -> None:
    one = found(digits, recipe, session)
    assert 0.002 < one.steepest < 1
    assert 0.002 < one.tenth < 1
    assert one.diverged
    assert one.losses[0] == pytest.approx(math.log(10), rel=0.2)
    assert one == found(digits, recipe, session), "the same every time"


def test_noise_alone_gives_no_suggestion() -> None:
    noise = (torch.rand(100, generator=torch.Generator().manual_seed(0)) * 0.05).tolist()
    lrs, losses = curve(lambda e: 2.28, 100)
    with pytest.raises(CvflowError, match="did not clearly fall over 100 steps"):
        suggested(lrs, [loss + more for loss, more in zip(losses, noise, strict=True)], diverged=False)


def test_an_optimiser_that_searches_along_a_line_has_no_rate(
    digits: PreparedDataset, recipe: Callable[..., Recipe], session: Make
) -> None:
    made = recipe(batch_size=320, optimizer={"name": "lbfgs", "max_iter": 5})
    with pytest.raises(RequestError, match=r"train\.optimizer: got lbfgs, which searches along a line"):
        lr_find(make_job(made, digits, session()), 1e-4, 10.0, 20)


def test_the_first_phase_that_steps_is_tested(
    digits: PreparedDataset, recipe: Callable[..., Recipe], session: Make
) -> None:
    job = make_job(
        recipe(batch_size=32, phases=[{"kind": "fit"}, {"freeze": "backbone"}, {}]), digits, session()
    )
    before = {name: p.clone() for name, p in job.model.named_parameters()}
    with pytest.raises(
        CvflowError, match="did not clearly fall"
    ):  # features drawn at random teach a head nothing in 30 steps
        lr_find(job, 1e-4, 1.0, 30)
    assert {name for name, p in job.model.named_parameters() if not torch.equal(p, before[name])} == {
        "head.weight",
        "head.bias",
    }
    with pytest.raises(RequestError, match=r"train\.kind: got no phase that steps"):
        lr_find(make_job(recipe(kind="fit"), digits, session()), 1e-4, 1.0, 30)


def test_it_stops_when_asked(digits: PreparedDataset, recipe: Callable[..., Recipe], session: Make) -> None:
    one = session()
    one.should_stop = lambda: True
    with pytest.raises(InterruptedRunError):
        lr_find(make_job(recipe(), digits, one), 1e-4, 1.0, 30)
