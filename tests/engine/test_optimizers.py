"""Options reach the optimisers, decay holds for what it should, and each finds its way down."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from cvflow.engine.closures import needs_closure
from cvflow.errors import RequestError
from cvflow.registry import Component, build, check, get, names


@pytest.mark.parametrize(
    ("component", "kind", "expected"),
    [
        (
            Component(name="sgd"),
            torch.optim.SGD,
            {"lr": 0.1, "momentum": 0.9, "nesterov": False, "weight_decay": 0},
        ),
        (
            Component(name="sgd", lr=1, momentum=0.5, nesterov=True),
            torch.optim.SGD,
            {"lr": 1, "momentum": 0.5, "nesterov": True},
        ),
        (
            Component(name="adagrad"),
            torch.optim.Adagrad,
            {"lr": 0.01, "eps": 1e-10, "weight_decay": 0, "fused": True},
        ),
        (
            Component(name="rmsprop", alpha=0.9, momentum=0.5, centered=True),
            torch.optim.RMSprop,
            {"lr": 1e-3, "alpha": 0.9, "momentum": 0.5, "centered": True},
        ),
        (
            Component(name="adam", beta1=0.8),
            torch.optim.Adam,
            {"lr": 1e-3, "betas": (0.8, 0.999), "decoupled_weight_decay": False},
        ),
        (
            Component(name="adamw"),
            torch.optim.AdamW,
            {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.01},
        ),
        (
            Component(name="adamw", lr=1, beta1=0.5, beta2=0.6, eps=0.1),
            torch.optim.AdamW,
            {"lr": 1, "betas": (0.5, 0.6), "eps": 0.1},
        ),
    ],
    ids=lambda value: f"{value.name}{len(value.options) or ''}" if isinstance(value, Component) else "",
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
        build(
            "optimizer",
            Component(name="sgd", nesterov=True, momentum=0),
            [torch.nn.Parameter(torch.zeros(2))],
        )


def test_lbfgs_asks_for_a_closure_and_the_others_do_not() -> None:
    needing = [
        n
        for n in names("optimizer")
        if getattr(build("optimizer", Component(name=n), [weight()]), "needs_closure", False)
    ]
    assert needing == ["lbfgs"]
    assert [n for n in names("optimizer") if needs_closure(get("optimizer", n))] == needing, (
        "the builders say so too"
    )
    group = build(
        "optimizer", Component(name="lbfgs", line_search="none", history=3), [weight()]
    ).param_groups[0]
    assert (group["line_search_fn"], group["history_size"]) == (None, 3)


def weight() -> nn.Parameter:
    return nn.Parameter(torch.zeros(2))


@pytest.mark.parametrize("name", sorted(set(names("optimizer")) - {"lbfgs"}))
@pytest.mark.parametrize("decay", ["all", "weights"])
def test_decay_of_all_or_of_the_weights_alone(name: str, decay: str) -> None:
    """Without a gradient only the decay moves a parameter."""
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))
    optimizer = build(
        "optimizer", Component(name=name, lr=0.1, weight_decay=0.1, decay=decay), model.parameters()
    )
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    moved = {name for name, p in model.named_parameters() if not torch.equal(before[name], p)}
    assert moved == (
        {"0.weight", "0.bias", "1.weight"} if decay == "all" else {"0.weight"}
    )  # the bias of a new norm is 0


def test_a_group_without_parameters_is_left_out() -> None:
    assert len(build("optimizer", Component(name="sgd", decay="weights"), [weight()]).param_groups) == 1


@pytest.mark.parametrize(
    "component",
    [
        Component(name="sgd", lr=0.1, nesterov=True),
        Component(name="adagrad", lr=0.5),
        Component(name="rmsprop", lr=0.02),
        Component(name="adam", lr=0.05),
        Component(name="adamw", lr=0.05, weight_decay=0),
        Component(name="lbfgs"),
    ],
    ids=lambda component: component.name,
)
def test_each_solves_least_squares(component: Component) -> None:
    draw = torch.Generator().manual_seed(0)
    inputs, truth = torch.randn(50, 3, generator=draw), torch.tensor([1.0, -2.0, 0.5])
    found = nn.Parameter(torch.zeros(3))
    optimizer = build("optimizer", component, [found])

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss: Tensor = (inputs @ found - inputs @ truth).square().mean()
        loss.backward()
        return loss

    for _ in range(3 if component.name == "lbfgs" else 200):
        optimizer.step(closure)
    torch.testing.assert_close(found.detach(), truth, atol=0.05, rtol=0)
