"""Sums and gathers over the ranks of a training; with one rank each returns what it was given."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

T = TypeVar("T")


def world_size() -> int:
    """Return the number of ranks."""
    return dist.get_world_size() if dist.is_initialized() else 1


def sum_over_ranks(tensor: Tensor) -> Tensor:
    """Sum the tensor over ranks, in place, and return it."""
    wait = summing(tensor)
    return wait()


def summing(tensor: Tensor) -> Callable[[], Tensor]:
    """Begin to sum the tensor over ranks, in place; return a function that waits for the sum."""
    work = dist.all_reduce(tensor, async_op=True) if world_size() > 1 else None

    def wait() -> Tensor:
        if work is not None:
            work.wait()
        return tensor

    return wait


def gather(value: T) -> list[T]:
    """Return each rank's value, by rank, on every rank. value: plain data that pickles."""
    if world_size() == 1:
        return [value]
    values: list[T | None] = [None] * world_size()
    dist.all_gather_object(values, value)
    return values  # type: ignore[return-value]


def share_buffers(model: nn.Module) -> None:
    """Send rank 0's buffers to all ranks.

    Running averages of batch norm differ between ranks, since their samples do.
    """
    if world_size() > 1:
        for buffer in model.buffers():
            dist.broadcast(buffer, src=0)


def agree(*flags: bool) -> tuple[bool, ...]:
    """Return for each flag whether any rank has set it."""
    if world_size() == 1:
        return flags
    return tuple(map(bool, _greatest(*flags)))


def least(number: int) -> int:
    """Return the least of the ranks' numbers."""
    if world_size() == 1:
        return number
    return -_greatest(-number)[0]


def _greatest(*numbers: int) -> list[int]:
    """Return the greatest over ranks of each of the numbers."""
    device = torch.device("cpu")
    if dist.get_backend() == "nccl":
        device = torch.device("cuda", torch.cuda.current_device())
    maxima = torch.tensor(numbers, dtype=torch.int32, device=device)
    dist.all_reduce(maxima, dist.ReduceOp.MAX)
    return list(map(int, maxima.tolist()))


def barrier() -> None:
    """Wait until all ranks are here."""
    if world_size() > 1:
        dist.barrier()
