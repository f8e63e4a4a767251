"""Sums and gathers over the ranks of one training; each is the identity when there is one rank."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

T = TypeVar("T")


def world_size() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def sum_over_ranks(tensor: Tensor) -> Tensor:
    """The tensor summed over ranks, in place."""
    return summing(tensor)()


def summing(tensor: Tensor) -> Callable[[], Tensor]:
    """Begin to sum the tensor over ranks, in place; what it gives waits for the sum."""
    work = dist.all_reduce(tensor, async_op=True) if world_size() > 1 else None

    def summed() -> Tensor:
        if work is not None:
            work.wait()
        return tensor

    return summed


def gather(value: T) -> list[T]:
    """Each rank's value, by rank, on every rank. value: plain data that pickles."""
    if world_size() == 1:
        return [value]
    values: list[T | None] = [None] * world_size()
    dist.all_gather_object(values, value)
    return values  # type: ignore[return-value]


def share_buffers(model: nn.Module) -> None:
    """Rank 0's buffers to all: batch norm's running averages differ after a step on different samples."""
    if world_size() > 1:
        for buffer in model.buffers():
            dist.broadcast(buffer, src=0)


def agree(*flags: bool) -> tuple[bool, ...]:
    """Each flag: whether any rank has it set."""
    if world_size() == 1:
        return flags
    return tuple(map(bool, _greatest(*flags)))


def least(number: int) -> int:
    """Of each rank's number."""
    return number if world_size() == 1 else -_greatest(-number)[0]


def _greatest(*numbers: int) -> list[int]:
    """Of each, over ranks."""
    device = (
        torch.device("cuda", torch.cuda.current_device())
        if dist.get_backend() == "nccl"
        else torch.device("cpu")
    )
    table = torch.tensor(numbers, dtype=torch.int32, device=device)
    dist.all_reduce(table, dist.ReduceOp.MAX)
    found: list[int] = table.tolist()
    return found


def barrier() -> None:
    if world_size() > 1:
        dist.barrier()
