"""Work done before it is asked for, in another thread; and torch's one generator, lent to one thread at a time."""

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
    try:
        waiting = deque(pool.submit(next, made, end) for _ in range(depth))
        while (item := waiting.popleft().result()) is not end:
            waiting.append(pool.submit(next, made, end))
            yield item  # type: ignore[misc]
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def drawing() -> Iterator[None]:
    """Torch's generator for this thread alone; it is left as it was found.

    Augmentation is drawn from it in the loading thread, dropout in the training one: each seeds it and draws within.
    """
    with _generator:
        state = torch.default_generator.get_state()
        try:
            yield
        finally:
            torch.default_generator.set_state(state)
