"""Batch norm folded into the convolution before it: the same outputs, a pass less over the maps.

Jacob et al., 2017, arXiv 1712.05877. Which norm follows which convolution is stated, never
guessed from what a model returns: a module names pairs of its parts in ``conv_norms``, and an
``nn.Sequential`` states it by its order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import deepcopy
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.utils import fuse_conv_bn_weights

from cvflow.models.layers import ConvNorms, SameConv2d

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, SameConv2d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
TOLERANCE = 1e-3
"""The greatest difference that folding may make to an output, as a part of the output's greatest value."""

Outputs = Callable[[nn.Module], Mapping[str, Tensor]]
"""Returns what a model gives for an example that is always the same."""


# tensors made in inference mode could not be trained again
@torch.inference_mode(False)
@torch.no_grad()
def folded(model: nn.Module, outputs: Outputs) -> nn.Module:
    """Return a copy in evaluation mode whose stated norms are folded into their convolutions.

    The model itself is returned if its outputs would change, and if they show nothing by which
    to compare: a detector that finds nothing in the example has empty outputs, folded or not.
    """
    if any(part._forward_hooks or part._forward_pre_hooks for part in model.modules()):
        return model  # hooks may keep maps, or make weights
    lean = deepcopy(model).eval()
    expected = outputs(lean)
    if not _comparable(expected):
        return model
    for conv_name, norm_name in norm_pairs(lean):
        _fold(lean, conv_name, norm_name)
    return lean if _same(expected, outputs(lean)) else model


def norm_pairs(model: nn.Module) -> list[tuple[str, str]]:
    """Return (convolution, norm) by their full names: every stated pair that can be folded.

    Parts that stand in two places of the model, or in two pairs, are left alone.
    """
    names: dict[nn.Module, str] = {}
    uses: Counter[nn.Module] = Counter()
    for name, part in model.named_modules(remove_duplicate=False):
        names[part] = name
        uses[part] += 1
    # A Sequential of a library's backbone is stated by its order and by the traced code.
    stated = list(dict.fromkeys(_stated(model)))
    for pair in stated:
        uses.update(pair)
    pairs = []
    for conv, norm in stated:
        # One place in the model and one pair.
        if uses[conv] == 2 and uses[norm] == 2:
            pairs.append((names[conv], names[norm]))
    return pairs


def traced_pairs(
    net: nn.Module,
    opaque_modules: Iterable[type[nn.Module]] = (),
    opaque_functions: Iterable[Callable[..., Any]] = (),
) -> ConvNorms:
    """Return the pairs of a library's network as its own code has them: traced, without running it.

    opaque_modules, opaque_functions: what branches on values, so that tracing must not look
    inside. Returns no pairs if the network cannot be traced.
    """
    if not any(_uses_averages(part) for part in net.modules()):
        return ()
    tracer = _Tracer(tuple(opaque_modules), tuple(opaque_functions))
    try:
        graph = tracer.trace(net)
    # whatever the library's code raises when it is given a stand-in for a tensor
    except Exception:
        return ()
    layer_calls = [node for node in graph.nodes if node.op == "call_module"]
    calls = Counter(node.target for node in layer_calls)
    pairs = []
    for node in layer_calls:
        source: Any = node.args[0] if node.args else None
        # The convolution's output has no other reader, and neither layer another call.
        if source not in layer_calls or len(source.users) > 1:
            continue
        if calls[source.target] > 1 or calls[node.target] > 1:
            continue
        conv = net.get_submodule(source.target)
        norm = net.get_submodule(node.target)
        if _foldable(conv, norm):
            pairs.append((source.target, node.target))
    return tuple(pairs)


class _Tracer(fx.Tracer):
    def __init__(
        self, opaque_modules: tuple[type[nn.Module], ...], opaque_functions: tuple[Callable[..., Any], ...]
    ) -> None:
        super().__init__(autowrap_functions=opaque_functions)
        self.opaque_modules = opaque_modules

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, self.opaque_modules) or super().is_leaf_module(m, module_qualified_name)


def _stated(model: nn.Module) -> Iterator[tuple[nn.Module, nn.Module]]:
    """Yield each foldable pair of every module that states some."""
    for module in model.modules():
        stated: list[tuple[nn.Module, nn.Module]] = []
        if type(module).forward is nn.Sequential.forward:
            stated += pairwise(module.children())
        for conv_name, norm_name in getattr(module, "conv_norms", ()):
            stated.append((module.get_submodule(conv_name), module.get_submodule(norm_name)))
        yield from (pair for pair in stated if _foldable(*pair))


def _foldable(conv: nn.Module, norm: nn.Module) -> bool:
    """Return whether they are a convolution and a norm.

    Subclasses are not, as they may compute something else.
    """
    return type(conv) in CONVOLUTIONS and _uses_averages(norm)


def _uses_averages(norm: nn.Module) -> bool:
    """Return whether it is a batch norm that normalises by its running averages."""
    return type(norm) in NORMS and norm.running_mean is not None


def _fold(model: nn.Module, conv_name: str, norm_name: str) -> None:
    conv: Any = model.get_submodule(conv_name)
    norm: Any = model.get_submodule(norm_name)
    conv.weight, conv.bias = fuse_conv_bn_weights(
        conv.weight,
        conv.bias,
        norm.running_mean,
        norm.running_var,
        norm.eps,
        norm.weight,
        norm.bias,
    )
    parent_name, _, child_name = norm_name.rpartition(".")
    setattr(model.get_submodule(parent_name), child_name, nn.Identity())


def _comparable(outputs: Mapping[str, Tensor]) -> bool:
    """Return whether no output is empty, and some value is not zero.

    Detections that are padded to a fixed number are all zero where nothing is detected.
    """
    if any(output.numel() == 0 for output in outputs.values()):
        return False
    return any(bool(output.any()) for output in outputs.values())


def _same(expected: Mapping[str, Tensor], got: Mapping[str, Tensor]) -> bool:
    """Return whether all outputs are within the tolerance; NaN is never the same."""
    if expected.keys() != got.keys():
        return False
    return all(_close(output.float(), got[name].float()) for name, output in expected.items())


def _close(expected: Tensor, got: Tensor) -> bool:
    if expected.shape != got.shape:
        return False
    gap = (expected - got).abs().max()
    return bool(gap <= TOLERANCE * expected.abs().max())
