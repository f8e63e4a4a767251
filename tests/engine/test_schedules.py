"""Learning rates at the points that matter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch.optim import lr_scheduler

from cvflow.engine.schedules import Position, with_warmup
from cvflow.errors import RequestError
from cvflow.registry import Component, build


def factors(component: Component, *progress: float) -> list[float]:
    schedule = build("schedule", component)
    return [schedule(Position(p)) for p in progress]


def by_epoch(component: Component, epochs: int, scores: Sequence[float] = ()) -> list[float]:
    """The factor in each epoch of a phase, given the scores after each."""
    schedule = build("schedule", component)
    return [schedule(Position(epoch / epochs, epoch, tuple(scores[:epoch]))) for epoch in range(epochs)]


def torch_lrs(
    make: Callable[[torch.optim.Optimizer], Any], arguments: Sequence[tuple[float, ...]]
) -> list[float]:
    """The lrs of torch's scheduler, stepped with each of the arguments; the optimiser's own lr is 1."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler, lrs = make(optimizer), []
    for given in arguments:
        lrs.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step(*given)
    return lrs


def test_constant() -> None:
    assert factors(Component(name="constant"), 0, 0.3, 1) == [1, 1, 1]


def test_step_falls_at_each_milestone() -> None:
    assert factors(Component(name="step"), 0, 0.499, 0.5, 0.749, 0.75, 1) == pytest.approx(
        [1, 1, 0.1, 0.1, 0.01, 0.01]
    )
    assert factors(Component(name="step", milestones=[0.2], gamma=0.5), 0.19, 0.2, 1) == [1, 0.5, 0.5]


def test_cosine_from_one_to_final() -> None:
    assert factors(Component(name="cosine"), 0, 1 / 3, 0.5, 1) == pytest.approx([1, 0.75, 0.5, 0])
    assert factors(Component(name="cosine", final=0.2), 0, 0.5, 1) == pytest.approx([1, 0.6, 0.2])


def test_multi_step_falls_after_these_epochs() -> None:
    component = Component(name="multi_step", epochs=[2, 3], gamma=0.5)
    assert by_epoch(component, 5) == torch_lrs(lambda o: lr_scheduler.MultiStepLR(o, [2, 3], 0.5), [()] * 5)


@pytest.mark.parametrize("epochs", [1, 3])
def test_step_every_falls_again_and_again(epochs: int) -> None:
    component = Component(name="step_every", epochs=epochs, gamma=0.5)
    assert by_epoch(component, 8) == torch_lrs(lambda o: lr_scheduler.StepLR(o, epochs, 0.5), [()] * 8)


@pytest.mark.parametrize("three_phase", [False, True])
@pytest.mark.parametrize("anneal", ["cosine", "linear"])
def test_one_cycle_is_torch_s(three_phase: bool, anneal: str) -> None:
    steps = 1000
    options = {"pct_start": 0.3, "three_phase": three_phase}
    ours = factors(
        Component(name="one_cycle", div=10, final_div=100, anneal=anneal, **options),
        *(i / steps for i in range(steps)),
    )
    whole = {
        "max_lr": 1,
        "total_steps": steps,
        "div_factor": 10,
        "final_div_factor": 100,
        "cycle_momentum": False,
    }
    strategy = {"cosine": "cos", "linear": "linear"}[anneal]
    theirs = torch_lrs(
        lambda o: lr_scheduler.OneCycleLR(o, **whole, **options, anneal_strategy=strategy), [()] * steps
    )
    # torch counts from the last step but one of each part
    assert ours == pytest.approx(theirs, abs=0.01)
    assert ours[0] == pytest.approx(0.1)
    assert max(ours) == 1
    assert factors(Component(name="one_cycle"), 1, 1.01) == pytest.approx([1 / 25 / 1e4] * 2)


@pytest.mark.parametrize("patience", [0, 2])
def test_plateau_is_torch_s(patience: int) -> None:
    draw = torch.Generator().manual_seed(patience)
    scores = (
        torch.rand(40, generator=draw).double().cumsum(0).sqrt() + torch.rand(40, generator=draw)
    ).tolist()
    ours = by_epoch(
        Component(name="plateau", factor=0.5, patience=patience, threshold=0.2, least=0.01), 40, scores
    )
    options = {
        "mode": "max",
        "factor": 0.5,
        "patience": patience,
        "threshold": 0.2,
        "threshold_mode": "abs",
        "min_lr": 0.01,
    }
    theirs = torch_lrs(lambda o: lr_scheduler.ReduceLROnPlateau(o, **options, eps=0), [(s,) for s in scores])
    assert ours == theirs
    assert len(set(ours)) > 3


def test_plateau_takes_no_number_for_no_better() -> None:
    scores = [0.5, float("nan"), float("nan"), 0.6]
    assert by_epoch(Component(name="plateau", patience=1), 5, scores) == pytest.approx([1, 1, 1, 0.1, 0.1])


def test_plateau_without_scores_is_the_request_s_fault() -> None:
    with pytest.raises(RequestError, match="plateau without a val split"):
        by_epoch(Component(name="plateau"), 2)


def test_epoch_and_scores_pass_the_warm_up() -> None:
    factor = with_warmup(build("schedule", Component(name="plateau", patience=0)), warmup=2, total=6)
    assert [factor(1, 0), factor(2, 1, (0.5,)), factor(4, 2, (0.5, 0.4))] == pytest.approx([1, 1, 0.1])


def test_warm_up_rises_to_the_whole_lr_then_the_schedule_takes_the_rest() -> None:
    factor = with_warmup(build("schedule", Component(name="cosine")), warmup=4, total=24)
    assert [factor(step) for step in range(4)] == [0.25, 0.5, 0.75, 1.0]
    # 24 is past the last step
    assert [factor(4), factor(14), factor(24)] == pytest.approx([1, 0.5, 0])
    assert all(factor(step) > factor(step + 1) for step in range(4, 23))


def test_milestones_are_fractions_of_what_follows_the_warm_up() -> None:
    factor = with_warmup(build("schedule", Component(name="step", milestones=[0.5])), warmup=10, total=30)
    assert [factor(19), factor(20), factor(29)] == pytest.approx([1, 0.1, 0.1])


@pytest.mark.parametrize("total", [0, 5])
def test_no_warm_up_and_warm_up_as_long_as_the_phase(total: int) -> None:
    assert with_warmup(build("schedule", Component(name="cosine")), 0, total)(0) == 1
    assert with_warmup(build("schedule", Component(name="cosine")), 5, total)(4) == 1
