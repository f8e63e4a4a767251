"""The cores and the memory of this machine, and how workers use them."""

from __future__ import annotations

import ctypes
import os

from cvflow.config import Compute

KEPT_BYTES = 2**30
"""Of freed memory, the most that a process keeps, and the largest piece."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h


def cores() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads(compute: Compute) -> int:
    """Torch threads a worker: as asked, else the cores divided by the workers."""
    return compute.threads or max(1, cores() // max(1, compute.most))


def compute_on(count: int) -> None:
    """Torch computes on so many threads of this process; what it frees stays with the process,
    where malloc is glibc's.

    By itself malloc gives every large activation back to the system, and the next layer faults all
    its pages in again.
    """
    import torch

    torch.set_num_threads(count)
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)
        any(
            libc.mallopt(_M_MMAP_THRESHOLD, size) for size in (KEPT_BYTES, 2**25)
        )  # older ones take no more than 32 MiB
