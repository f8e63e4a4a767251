"""The cores of this machine, and how workers share them."""

from __future__ import annotations

import os

from cvflow.config import Compute


def cores() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads(compute: Compute) -> int:
    """Torch threads a worker: as asked, else the cores divided by the workers."""
    return compute.threads or max(1, cores() // max(1, compute.most))
