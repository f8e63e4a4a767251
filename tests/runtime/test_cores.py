"""The threads and the memory of a process that computes."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, statistics, sys
import torch
from cvflow.runtime.cores import compute_on
if sys.argv[1] == "kept":
    compute_on(1)
faults = [resource.getrusage(resource.RUSAGE_SELF).ru_minflt]
for _ in range(61):
    torch.empty(20_000_000).fill_(1)
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
rounds = [after - before for before, after in zip(faults, faults[1:])]
print(torch.get_num_threads(), statistics.median_low(rounds))  # malloc takes a new place in up to ten of them
"""


def faults(how: str) -> tuple[int, int]:
    """(threads, page faults of a tensor of 80 MB, the median of 61 made and freed in turn)"""
    found = subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True)
    threads, count = found.stdout.split()
    return int(threads), int(count)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="malloc is not glibc's")
def test_freed_memory_is_used_again_without_faulting_its_pages_in() -> None:
    threads, kept = faults("kept")
    assert threads == 1
    assert kept < 200
    assert faults("given back")[1] > 10_000
