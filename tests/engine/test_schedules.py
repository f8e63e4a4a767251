"""Learning rates at the points that matter, and the optimisers' options."""

from __future__ import annotations

import pytest
import torch

from cvflow.engine.schedules import with_warmup
from cvflow.errors import RequestError
from cvflow.registry import Component, build, check


def factors(component: Component, *progress: float) -> list[float]:
    schedule = build("schedule", component)
    return [schedule(p) for p in progress]


def test_constant() -> None:
    assert factors(Component(name="constant"), 0, 0.3, 1) == [1, 1, 1]


def test_step_falls_at_each_milestone() -> None:
    assert factors(Component(name="step"), 0, 0.499, 0.5, 0.749, 0.75, 1) == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])
    assert factors(Component(name="step", milestones=[0.2], gamma=0.5), 0.19, 0.2, 1) == [1, 0.5, 0.5]


def test_cosine_from_one_to_final() -> None:
    assert factors(Component(name="cosine"), 0, 1 / 3, 0.5, 1) == pytest.approx([1, 0.75, 0.5, 0])
    assert factors(Component(name="cosine", final=0.2), 0, 0.5, 1) == pytest.approx([1, 0.6, 0.2])


def test_warm_up_rises_to_the_whole_lr_then_the_schedule_takes_the_rest() -> None:
    factor = with_warmup(build("schedule", Component(name="cosine")), warmup=4, total=24)
    assert [factor(step) for step in range(4)] == [0.25, 0.5, 0.75, 1.0]
    assert [factor(4), factor(14), factor(24)] == pytest.approx([1, 0.5, 0])  # 24 is past the last step
    assert all(factor(step) > factor(step + 1) for step in range(4, 23))


def test_milestones_are_fractions_of_what_follows_the_warm_up() -> None:
    factor = with_warmup(build("schedule", Component(name="step", milestones=[0.5])), warmup=10, total=30)
    assert [factor(19), factor(20), factor(29)] == pytest.approx([1, 0.1, 0.1])


@pytest.mark.parametrize("total", [0, 5])
def test_no_warm_up_and_warm_up_as_long_as_the_phase(total: int) -> None:
    assert with_warmup(build("schedule", Component(name="cosine")), 0, total)(0) == 1
    assert with_warmup(build("schedule", Component(name="cosine")), 5, total)(4) == 1


@pytest.mark.parametrize(
    ("component", "kind", "expected"),
    [
        (Component(name="sgd"), torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": False, "weight_decay": 0}),
        (Component(name="sgd", lr=1, momentum=0.5, nesterov=True), torch.optim.SGD, {"lr": 1, "momentum": 0.5, "nesterov": True}),
        (Component(name="adamw"), torch.optim.AdamW, {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.01}),
        (Component(name="adamw", lr=1, beta1=0.5, beta2=0.6, eps=0.1), torch.optim.AdamW, {"lr": 1, "betas": (0.5, 0.6), "eps": 0.1}),
    ],
    ids=["sgd", "sgd-options", "adamw", "adamw-options"],
)
def test_options_reach_the_optimiser(component: Component, kind: type, expected: dict[str, object]) -> None:
    optimizer = build("optimizer", component, [torch.nn.Parameter(torch.zeros(2))])
    assert type(optimizer) is kind
    assert {key: optimizer.param_groups[0][key] for key in expected} == expected


@pytest.mark.parametrize(
    ("component", "where"),
    [
        (Component(name="sgd", lr=0), "train.optimizer.lr"),
        (Component(name="sgd", momentum=1), "train.optimizer.momentum"),
        (Component(name="adamw", betas=[0.9, 0.99]), "train.optimizer.betas"),
        (Component(name="sdg"), "train.optimizer.name"),
    ],
)
def test_wrong_options_are_named(component: Component, where: str) -> None:
    _, faults = check("optimizer", component, "train.optimizer")
    assert [fault.where for fault in faults] == [where]


def test_nesterov_without_momentum_is_the_request_s_fault() -> None:
    with pytest.raises(RequestError, match="nesterov"):
        build("optimizer", Component(name="sgd", nesterov=True, momentum=0), [torch.nn.Parameter(torch.zeros(2))])
