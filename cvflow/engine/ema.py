"""An exponential moving average of a model's weights, and of its buffers (Polyak and Juditsky 1992)."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import nn


class Average:
    """``module``: the averaged model. The decay rises with the updates, so that the start is soon forgotten."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.module = deepcopy(model).requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """After the step: averaged = d * averaged + (1 - d) * present, d = min(decay, (1 + step) / (10 + step))."""
        decay = min(self.decay, (1 + step) / (10 + step))
        averaged, present = self.module.state_dict(), model.state_dict()
        floats = [name for name, tensor in present.items() if tensor.is_floating_point()]
        torch._foreach_lerp_([averaged[n] for n in floats], [present[n] for n in floats], 1 - decay)
        for name in present.keys() - set(floats):
            averaged[name].copy_(present[name])
