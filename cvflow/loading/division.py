"""How the samples of an epoch, and the rows of a split, are divided."""

from __future__ import annotations

from collections.abc import Sequence

Item = tuple[int, int]
"""(row index, which of the row's samples)"""


def items_of(order: Sequence[int], counts: Sequence[int] | None) -> list[Item]:
    """Return the samples of an epoch: those of each row in turn, in the order of the rows. counts:
    of every row; None: one each.
    """
    items: list[Item] = []
    for row in map(int, order):
        count = 1 if counts is None else counts[row]
        items += [(row, sample) for sample in range(count)]
    return items


def consecutive(length: int, counts: Sequence[int] | None, batch_size: int) -> list[range]:
    """Return the rows of each batch: at most batch_size samples, and rows; one row at least."""
    if counts is None:
        return [range(first, min(first + batch_size, length)) for first in range(0, length, batch_size)]
    parts = []
    first = samples = 0
    for row in range(length):
        full = samples + counts[row] > batch_size or row - first >= batch_size
        if full and row > first:
            parts.append(range(first, row))
            first, samples = row, 0
        samples += counts[row]
    if first < length:
        parts.append(range(first, length))
    return parts
