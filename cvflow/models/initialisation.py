"""Starting weights of convolutions and linear layers; norms keep their own.

activation: what follows the layers, whose gain keeps the variance of the signal from layer to
layer (relu: root of 2, tanh: 5/3, linear: 1). bias: the value of every bias; a small positive
one keeps rectifiers alive at first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from cvflow.errors import Fault, RequestError
from cvflow.registry import register

Activation = Literal["relu", "tanh", "linear"]
FAN_MODES: Mapping[str, Literal["fan_in", "fan_out"]] = {"in": "fan_in", "out": "fan_out"}
LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d)


@register("init", "default")
def default(model: nn.Module) -> None:
    """As each layer does it itself."""


@register("init", "glorot_normal")
def glorot_normal(model: nn.Module, *, activation: Activation = "linear", bias: float = 0.0) -> None:
    """Normal, variance 2 / (inputs + outputs) (Glorot and Bengio 2010, AISTATS)."""
    gain = nn.init.calculate_gain(activation)
    draw = partial(nn.init.xavier_normal_, gain=gain)
    fill(model, draw, bias)


@register("init", "glorot_uniform")
def glorot_uniform(model: nn.Module, *, activation: Activation = "linear", bias: float = 0.0) -> None:
    """Uniform, variance 2 / (inputs + outputs) (Glorot and Bengio 2010, AISTATS)."""
    gain = nn.init.calculate_gain(activation)
    draw = partial(nn.init.xavier_uniform_, gain=gain)
    fill(model, draw, bias)


@register("init", "he_normal")
def he_normal(
    model: nn.Module, *, activation: Activation = "relu", fan: Literal["in", "out"] = "in", bias: float = 0.0
) -> None:
    """Normal, variance gain^2 / inputs, or outputs by ``fan`` (He et al. 2015, arXiv 1502.01852)."""
    draw = partial(nn.init.kaiming_normal_, mode=FAN_MODES[fan], nonlinearity=activation)
    fill(model, draw, bias)


@register("init", "he_uniform")
def he_uniform(
    model: nn.Module, *, activation: Activation = "relu", fan: Literal["in", "out"] = "in", bias: float = 0.0
) -> None:
    """Uniform, variance gain^2 / inputs, or outputs by ``fan`` (He et al. 2015, arXiv 1502.01852)."""
    draw = partial(nn.init.kaiming_uniform_, mode=FAN_MODES[fan], nonlinearity=activation)
    fill(model, draw, bias)


@register("init", "orthogonal")
def orthogonal(model: nn.Module, *, activation: Activation = "relu", bias: float = 0.0) -> None:
    """Orthogonal rows or columns, times the gain (Saxe et al. 2013, arXiv 1312.6120)."""
    gain = nn.init.calculate_gain(activation)
    draw = partial(nn.init.orthogonal_, gain=gain)
    fill(model, draw, bias)


@torch.no_grad()
def fill(model: nn.Module, weight: Callable[[Tensor], Tensor], bias: float) -> None:
    """Draw every weight, in the order of definition, and set every bias.

    RequestError if that would undo published weights.
    """
    backbone = getattr(model, "backbone", model)
    if getattr(backbone, "pixel_stats", None) is not None:
        fix = "Type model.init=default, or model.backbone.pretrained=false."
        raise RequestError(Fault("model.init", "an initialisation over published weights", "default", fix))
    for layer in model.modules():
        if isinstance(layer, LAYERS):
            weight(layer.weight)
            if layer.bias is not None:
                layer.bias.fill_(bias)
