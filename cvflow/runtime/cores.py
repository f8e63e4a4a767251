"""The cores and the memory of this machine, and how workers use them."""

from __future__ import annotations

import ctypes
import os

from cvflow.config import Compute

KEPT_BYTES = 2**30
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h


def cores() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads(compute: Compute) -> int:
    """Torch threads a worker: as asked, else the cores divided by the workers."""
    return compute.threads or max(1, cores() // max(1, compute.most))


def keep_memory() -> None:
    """What is freed stays with the process, up to KEPT_BYTES, where malloc is glibc's.

    By itself it gives every large activation back to the system, and the next layer faults all its pages in again.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)
        libc.mallopt(_M_MMAP_THRESHOLD, KEPT_BYTES)
