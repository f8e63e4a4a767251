"""Work in another thread: in order, its errors at their place, and one thread at a time at torch's
generator.
"""

import threading
from itertools import count

import pytest
import torch

from cvflow.loading.prefetch import ahead, drawing


def test_items_come_in_order_from_another_thread():
    assert (
        list(ahead(threading.current_thread().name for _ in range(3)))
        != [threading.current_thread().name] * 3
    )
    assert list(ahead(range(20))) == list(range(20))
    assert list(ahead([])) == []


def test_an_error_comes_at_its_place():
    items = ahead(6 // n for n in (3, 2, 0, 1))
    assert [next(items), next(items)] == [2, 3]
    with pytest.raises(ZeroDivisionError):
        next(items)


def test_no_more_is_made_than_asked_for_and_it_ends_when_left():
    numbers = count()
    items = ahead(numbers, depth=3)
    assert next(items) == 0
    items.close()
    assert next(numbers) <= 4
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ThreadPoolExecutor")]


def test_what_is_drawn_leaves_no_trace():
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    with drawing():
        torch.rand(5)
    assert torch.equal(torch.rand(3), expected)


def test_two_threads_draw_as_if_each_were_alone():
    def drawn(seed):
        with drawing():
            torch.default_generator.manual_seed(seed)
            return [torch.rand(50) for _ in range(20)]

    alone = {seed: torch.cat(drawn(seed)) for seed in range(60)}
    for seed, together in zip(range(30, 60), ahead(map(drawn, range(30)), depth=5), strict=False):
        assert torch.equal(torch.cat(drawn(seed)), alone[seed])
        assert torch.equal(torch.cat(together), alone[seed - 30])


def test_the_other_thread_computes_on_one_core_and_leaves_this_one_its_own():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        assert list(ahead(torch.get_num_threads() for _ in range(3))) == [1, 1, 1]
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
