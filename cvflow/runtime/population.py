"""Population-based training whose draws are its own."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ray.tune.schedulers import PopulationBasedTraining


@contextmanager
def drawing_from(generator: random.Random) -> Iterator[None]:
    """While the body runs, functions of the module ``random`` draw from this generator; the
    module's own stays as it is.
    """
    module_state = random.getstate()
    random.setstate(generator.getstate())
    try:
        yield
    finally:
        generator.setstate(random.getstate())
        random.setstate(module_state)


class SeededPopulation(PopulationBasedTraining):
    """Tune's scheduler draws whose params are taken, and how they change, from the module
    ``random``, which all share.
    """

    def __init__(self, **options: Any) -> None:
        self._generator = random.Random(0)
        super().__init__(**options)

    def seed(self, seed: int) -> None:
        """Begin the draws anew."""
        self._generator.seed(seed)

    def on_trial_add(self, *args: Any, **kwargs: Any) -> Any:
        with drawing_from(self._generator):
            return super().on_trial_add(*args, **kwargs)

    def on_trial_result(self, *args: Any, **kwargs: Any) -> Any:
        with drawing_from(self._generator):
            return super().on_trial_result(*args, **kwargs)

    def choose_trial_to_run(self, *args: Any, **kwargs: Any) -> Any:
        with drawing_from(self._generator):
            return super().choose_trial_to_run(*args, **kwargs)
