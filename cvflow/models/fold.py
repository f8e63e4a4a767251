"""BatchNorm folded into the convolution before it: the same answers, a pass less over the maps (Jacob et al., 2017, arXiv 1712.05877)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_weights

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
TOLERANCE = 1e-3
"""The greatest difference of an answer that folding may make, as a part of the greatest answer."""

Answers = Callable[[nn.Module], Mapping[str, Tensor]]
"""What a model answers to an example that is always the same."""


@torch.inference_mode(False)  # whose tensors do not say whether they were changed
@torch.no_grad()
def folded(model: nn.Module, answers: Answers) -> nn.Module:
    """A copy in evaluation mode without the BatchNorms that only a convolution feeds; the model itself where its answers would change.

    Which layer feeds which is seen in one call of ``answers``; another one compares.
    """
    lean = deepcopy(model).eval()
    pairs, expected = _feeding(lean, answers)
    norms = set()
    for convolution, norm in pairs:
        convolution.weight, convolution.bias = fuse_conv_bn_weights(
            convolution.weight, convolution.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        )
        norms.add(norm)
    for parent in list(lean.modules()):
        for name, child in parent.named_children():
            if child in norms:
                setattr(parent, name, nn.Identity())
    got = answers(lean)
    same = all((got[k] - v).abs().max() <= TOLERANCE * v.abs().max() for k, v in expected.items())
    return lean if same else model


def _feeding(model: nn.Module, answers: Answers) -> tuple[list[tuple[Any, Any]], Mapping[str, Tensor]]:
    """[(convolution, norm)] and the answers: the one's output, unchanged, is the other's input, and each is called once.

    Subclasses of the two may compute something else.
    """
    made: dict[int, tuple[nn.Module, Tensor, int]] = {}  # by the tensor's id, which is its own as long as it is kept
    calls: Counter[nn.Module] = Counter()
    found = []

    def convolved(layer: nn.Module, images: tuple[Tensor, ...], maps: Tensor) -> None:
        calls[layer] += 1
        made[id(maps)] = layer, maps, maps._version

    def normed(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        calls[layer] += 1
        source, _, version = made.get(id(inputs[0]), (None, None, None))
        if source is not None and version == inputs[0]._version:
            found.append((source, layer))

    handles = [part.register_forward_hook(convolved) for part in model.modules() if type(part) in CONVOLUTIONS]
    norms = [part for part in model.modules() if type(part) in NORMS and part.running_mean is not None]
    handles += [part.register_forward_pre_hook(normed) for part in norms]
    expected = answers(model)
    for handle in handles:
        handle.remove()
    return [(source, norm) for source, norm in found if calls[source] == calls[norm] == 1], expected
