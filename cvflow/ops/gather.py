"""A batch's values from all ranks, with gradients: for losses that compare samples of the whole global batch."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F


def over_ranks(values_BD: Tensor) -> tuple[Tensor, int]:
    """(the values of all ranks, M x D, by rank; where this rank's begin). Every rank has to call it; B may differ.

    The gradient of what any rank makes of a value reaches the rank that the value is from.
    """
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return values_BD, 0
    counts = [
        torch.zeros(1, dtype=torch.int64, device=values_BD.device) for _ in range(dist.get_world_size())
    ]
    dist.all_gather(counts, torch.tensor([len(values_BD)], device=values_BD.device))
    lengths = [int(count) for count in counts]
    whole: Tensor = _Gathered.apply(values_BD, lengths)
    return whole, sum(lengths[: dist.get_rank()])


class _Gathered(torch.autograd.Function):
    """One gather forwards; backwards each rank gets its part of the gradients' sum."""

    @staticmethod
    def forward(ctx: Any, values_BD: Tensor, lengths: list[int]) -> Tensor:
        ctx.lengths = lengths
        padded = F.pad(values_BD, (0, 0, 0, max(lengths) - len(values_BD))).contiguous()
        parts = [torch.empty_like(padded) for _ in lengths]
        dist.all_gather(parts, padded)
        return torch.cat([part[:length] for part, length in zip(parts, lengths, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, None]:
        whole = gradients[0].clone()
        dist.all_reduce(whole)
        return whole.split(ctx.lengths)[dist.get_rank()], None
