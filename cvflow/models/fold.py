"""BatchNorm folded into the convolution before it: the same answers, a pass less over the maps (Jacob et al., 2017, arXiv 1712.05877)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_weights

from cvflow.models.layers import SameConv2d

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, SameConv2d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
TOLERANCE = 1e-3
"""The greatest difference of an answer that folding may make, as a part of the greatest answer."""

Answers = Callable[[nn.Module], Mapping[str, Tensor]]
"""What a model answers to an example that is always the same."""


@torch.inference_mode(False)  # whose tensors do not say whether they were changed
@torch.no_grad()
def folded(model: nn.Module, answers: Answers) -> nn.Module:
    """A copy in evaluation mode without the BatchNorms that only a convolution feeds; the model itself where its answers would change.

    Which layer feeds which is seen in one call of ``answers``; in a second one nothing else sees the convolutions' maps; a third compares.
    """
    if any(part._forward_hooks or part._forward_pre_hooks for part in model.modules()):
        return model  # they may keep maps, or make weights
    lean = deepcopy(model).eval()
    pairs, expected = _feeding(lean, answers)
    if not _same(expected, _hidden(lean, pairs, answers)):
        return model
    norms = set()
    for convolution, norm in pairs:
        convolution.weight, convolution.bias = fuse_conv_bn_weights(
            convolution.weight,
            convolution.bias,
            norm.running_mean,
            norm.running_var,
            norm.eps,
            norm.weight,
            norm.bias,
        )
        norms.add(norm)
    for parent in list(lean.modules()):
        for name, child in list(parent._modules.items()):
            if child in norms:
                setattr(parent, name, nn.Identity())
    return lean if _same(expected, answers(lean)) else model


def _same(expected: Mapping[str, Tensor], got: Mapping[str, Tensor]) -> bool:
    """Within the tolerance; NaN is the same as nothing."""

    def close(one: Tensor, other: Tensor) -> bool:
        return one.shape == other.shape and (
            one.numel() == 0 or bool((one - other).abs().max() <= TOLERANCE * one.abs().max())
        )

    return expected.keys() == got.keys() and all(
        close(value.float(), got[name].float()) for name, value in expected.items()
    )


def _hidden(model: nn.Module, pairs: list[tuple[Any, Any]], answers: Answers) -> Mapping[str, Tensor]:
    """The answers where only the norms see the convolutions' maps, and all others NaN."""
    maps: dict[nn.Module, Tensor] = {}

    def hide(convolution: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        maps[convolution] = output
        return torch.full_like(output, float("nan"))

    handles = [convolution.register_forward_hook(hide) for convolution, _ in pairs]
    handles += [
        norm.register_forward_pre_hook(lambda _, inputs, source=source: (maps[source],))
        for source, norm in pairs
    ]
    found = answers(model)
    for handle in handles:
        handle.remove()
    return found


def _feeding(model: nn.Module, answers: Answers) -> tuple[list[tuple[Any, Any]], Mapping[str, Tensor]]:
    """[(convolution, norm)] and the answers: the one's output, unchanged, is the other's input and no other norm's; each is called once.

    Subclasses of the two may compute something else.
    """
    made: dict[
        int, tuple[nn.Module, Tensor, int]
    ] = {}  # by the tensor's id, which is its own as long as it is kept
    calls: Counter[nn.Module] = Counter()  # of a convolution by the model, and of norms by it
    found = []

    def convolved(layer: nn.Module, images: tuple[Tensor, ...], maps: Tensor) -> None:
        calls[layer] += 1
        made[id(maps)] = layer, maps, maps._version

    def normed(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        calls[layer] += 1
        source, _, version = made.get(id(inputs[0]), (None, None, None)) if inputs else (None, None, None)
        if source is not None and version == inputs[0]._version:
            calls[source] += 1
            found.append((source, layer))

    handles = [
        part.register_forward_hook(convolved) for part in model.modules() if type(part) in CONVOLUTIONS
    ]
    norms = [
        part
        for part in model.modules()
        if type(part) in NORMS and part.running_mean is not None and not part.training
    ]
    handles += [part.register_forward_pre_hook(normed) for part in norms]
    expected = answers(model)
    for handle in handles:
        handle.remove()
    return [(source, norm) for source, norm in found if calls[source] == 2 and calls[norm] == 1], expected
