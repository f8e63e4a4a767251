"""An exponential moving average of a model's weights, and of its buffers (Polyak and Juditsky 1992)."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn


class Average:
    """A running average of a model, in ``module``.

    The decay rises with the number of updates, so that the first weights are soon forgotten.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.module = deepcopy(model).requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Take in the model after a step.

        average = d * average + (1 - d) * model, where d = min(decay, (1 + step) / (10 + step)).
        """
        decay = min(self.decay, (1 + step) / (10 + step))
        averages: list[Tensor] = []
        values: list[Tensor] = []
        state = model.state_dict()
        for name, average in self.module.state_dict().items():
            if average.is_floating_point():
                averages.append(average)
                values.append(state[name])
            else:
                average.copy_(state[name])
        # all at once: one kernel instead of one for each parameter
        torch._foreach_lerp_(averages, values, 1 - decay)
