"""Variances as the papers give them, and what they are for: a signal that neither dies nor explodes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cvflow.config import Model
from cvflow.errors import RequestError
from cvflow.models.backbones.base import Backbone
from cvflow.models.classifier import Classifier
from cvflow.registry import Component, build, check, names


def initialised(model: nn.Module, name: str, **options: Any) -> nn.Module:
    torch.manual_seed(0)
    build("init", Component(name=name, **options), model)
    return model


@pytest.mark.parametrize(
    ("name", "options", "variance"),
    [
        ("glorot_normal", {}, 2 / (9 * 64 + 9 * 128)),
        ("glorot_uniform", {}, 2 / (9 * 64 + 9 * 128)),
        ("glorot_uniform", {"activation": "tanh"}, 25 / 9 * 2 / (9 * 64 + 9 * 128)),
        ("he_normal", {}, 2 / (9 * 64)),
        ("he_uniform", {}, 2 / (9 * 64)),
        ("he_uniform", {"fan": "out"}, 2 / (9 * 128)),
        ("he_normal", {"activation": "linear"}, 1 / (9 * 64)),
    ],
)
def test_variances(name: str, options: dict[str, str], variance: float) -> None:
    weight = initialised(nn.Conv2d(64, 128, 3), name, **options).weight
    assert isinstance(weight, Tensor)
    assert weight.var().item() == pytest.approx(variance, rel=0.03)
    bounded = weight.abs().max().item() < 1.001 * math.sqrt(3 * variance)
    assert bounded == name.endswith("uniform")


@pytest.mark.parametrize(("activation", "gain"), [("relu", 2), ("tanh", 25 / 9), ("linear", 1)])
def test_orthogonal_rows(activation: str, gain: float) -> None:
    weight = initialised(nn.Conv2d(8, 16, 3), "orthogonal", activation=activation).weight
    assert isinstance(weight, Tensor)
    rows = weight.flatten(1)
    torch.testing.assert_close(rows @ rows.T, gain * torch.eye(16), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", sorted(set(names("init")) - {"default"}))
def test_every_convolution_and_linear_layer_and_no_norm(
    name: str, classifier: Callable[..., Classifier]
) -> None:
    model = classifier(Component(name="cifar_resnet", depth=20))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    initialised(model, name, bias=0.1)
    changed = {key for key, value in model.state_dict().items() if not torch.equal(before[key], value)}
    layers = {key for key, layer in model.named_modules() if isinstance(layer, (nn.Conv2d, nn.Linear))}
    assert {key.removesuffix(".weight") for key in changed if not key.endswith(".bias")} == layers
    assert model.head.bias.unique().tolist() == pytest.approx([0.1])
    again = initialised(classifier(Component(name="cifar_resnet", depth=20)), name, bias=0.1).state_dict()
    assert all(torch.equal(again[key], value) for key, value in model.state_dict().items())


def test_default_leaves_the_layers_alone(backbone: Callable[..., Backbone]) -> None:
    net = backbone("lenet")
    before = {key: value.clone() for key, value in net.state_dict().items()}
    initialised(net, "default")
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())


@pytest.mark.parametrize(
    ("activation", "name", "alive"),
    [
        ("relu", "he_normal", True),
        ("relu", "orthogonal", True),
        ("relu", "glorot_normal", False),
        ("relu", "default", False),
        ("tanh", "glorot_uniform", True),
        ("tanh", "default", False),
    ],
)
def test_the_signal_through_thirty_layers(activation: str, name: str, alive: bool) -> None:
    act = nn.ReLU if activation == "relu" else nn.Tanh
    torch.manual_seed(1)
    net = nn.Sequential(*(layer for _ in range(30) for layer in (nn.Linear(256, 256), act())))
    initialised(net, name)
    signal = net(torch.randn(64, 256)).std().item()
    assert (0.1 < signal < 10) == alive


def test_published_weights_are_not_undone(classifier: Callable[..., Classifier]) -> None:
    model = classifier("lenet")
    # as where a library loaded its weights
    model.backbone.pixel_stats = ((0.5,), (0.5,))
    initialised(model, "default")
    with pytest.raises(RequestError, match="model.init"):
        initialised(model, "he_normal")


def test_options_are_checked_within_the_model() -> None:
    data, faults = check(
        "model", Model.model_validate({"init": {"name": "orthogonal", "bias": 0.1}}), "model"
    )
    assert faults == []
    assert data["init"] == {"name": "orthogonal", "activation": "relu", "bias": 0.1}
    assert data["backbone"]["name"] == "lenet"
    _, faults = check("model", Model.model_validate({"init": {"name": "orthogonl"}}), "model")
    assert [fault.where for fault in faults] == ["model.init.name"]
    _, faults = check("model", Model.model_validate({"init": {"name": "he_normal", "fan": "both"}}), "model")
    assert [fault.where for fault in faults] == ["model.init.fan"]
