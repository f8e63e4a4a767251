"""Draws of population-based training are its own."""

from __future__ import annotations

import random

from cvflow.runtime.population import drawing_from


def test_draws_come_from_the_own_generator_and_leave_the_shared_one() -> None:
    random.seed(7)
    expected = [random.random() for _ in range(3)]
    random.seed(7)
    first = random.random()
    own = random.Random(3)
    drawn = []
    for _ in range(2):
        with drawing_from(own):
            drawn.append(random.random())
    assert [first, random.random(), random.random()] == expected
    again = random.Random(3)
    assert drawn == [again.random(), again.random()]
