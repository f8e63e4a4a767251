"""A batch's values from all ranks, with gradients: for losses over samples of the whole global batch."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F


def over_ranks(values_BD: Tensor) -> tuple[Tensor, int]:
    """Return (the values of all ranks, M x D, by rank; the index at which this rank's begin).

    Every rank has to call it; B may differ. The gradient of what any rank makes of a value reaches
    the rank that the value is from.
    """
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return values_BD, 0
    device = values_BD.device
    counts = []
    for _ in range(dist.get_world_size()):
        counts.append(torch.zeros(1, dtype=torch.int64, device=device))
    dist.all_gather(counts, torch.tensor([len(values_BD)], device=device))
    lengths = [int(count) for count in counts]
    gathered: Tensor = _Gathered.apply(values_BD, lengths)
    return gathered, sum(lengths[: dist.get_rank()])


class _Gathered(torch.autograd.Function):
    """One gather forwards; backwards each rank gets its part of the gradients' sum."""

    @staticmethod
    def forward(ctx: Any, values_BD: Tensor, lengths: list[int]) -> Tensor:
        ctx.lengths = lengths
        # all_gather wants the same shape from every rank.
        missing = max(lengths) - len(values_BD)
        padded = F.pad(values_BD, (0, 0, 0, missing)).contiguous()
        parts = [torch.empty_like(padded) for _ in lengths]
        dist.all_gather(parts, padded)
        filled = [part[:length] for part, length in zip(parts, lengths, strict=True)]
        return torch.cat(filled)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, None]:
        summed = gradients[0].clone()
        dist.all_reduce(summed)
        by_rank = summed.split(ctx.lengths)
        return by_rank[dist.get_rank()], None
