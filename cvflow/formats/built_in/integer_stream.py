"""Random integers from PCG64's raw stream, which NumPy keeps unchanged over its versions."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


class Draw:
    """Random integers, the same for the same key on any machine. key: integers >= 0."""

    def __init__(self, *key: int) -> None:
        seed = np.random.SeedSequence(key)
        self._stream = np.random.PCG64(seed)

    def below(self, end: int) -> int:
        """Return an integer of 0..end - 1."""
        word = self._stream.random_raw()
        return int(word % end)

    def between(self, least: int, greatest: int) -> int:
        """Return an integer of least..greatest, both included."""
        count = greatest - least + 1
        return least + self.below(count)

    def colour(self) -> Ints:
        """Return RGB, each 0..255."""
        red = self.below(256)
        green = self.below(256)
        blue = self.below(256)
        return np.array([red, green, blue])

    def bytes(self, *shape: int) -> Ints:
        """Return an array of this shape of integers of 0..255."""
        count = math.prod(shape)
        # Each raw word of 64 bits gives 8 of them.
        word_count = math.ceil(count / 8)
        words = self._stream.random_raw(word_count)
        # Little-endian, so that the bytes come in the same order on any machine.
        little_endian = np.atleast_1d(words).astype("<u8")
        values = little_endian.view(np.uint8)[:count]
        return values.astype(np.int64).reshape(shape)
