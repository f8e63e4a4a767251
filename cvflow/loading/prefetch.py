"""Work done before it is asked for, in another thread; and torch's one generator, lent to one
thread at a time.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import chain
from typing import TypeVar

import torch

T = TypeVar("T")
_generator = threading.RLock()


def ahead(items: Iterable[T], depth: int = 2) -> Iterator[T]:
    """The items, made in another thread, ``depth`` of them before they are asked for."""
    end = object()
    made = chain(items, (end,))
    pool = ThreadPoolExecutor(1)
    threads = torch.get_num_threads()
    pool.submit(_on_one_core).result()
    torch.set_num_threads(threads)  # in what the threads share
    try:
        waiting = deque(pool.submit(next, made, end) for _ in range(depth))
        while (item := waiting.popleft().result()) is not end:
            waiting.append(pool.submit(next, made, end))
            yield item  # type: ignore[misc]
    finally:
        pool.shutdown(cancel_futures=True)


def _on_one_core() -> None:
    """This thread's share of torch's work: it would take the cores from the one that computes."""
    torch.get_num_threads()  # a thread's first look sets its number to that of all
    torch.set_num_threads(1)


@contextmanager
def drawing() -> Iterator[None]:
    """Torch's generator for this thread alone; it is left as it was found.

    Augmentation is drawn from it in the loading thread, dropout in the training one: each seeds it
    and draws within.
    """
    with _generator:
        state = torch.default_generator.get_state()
        try:
            yield
        finally:
            torch.default_generator.set_state(state)
