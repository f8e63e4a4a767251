"""Records to show: a few of each class, drawn by a hash of their ids and so spread over the data."""

from __future__ import annotations

import hashlib
import heapq

from cvflow.formats.record import Record

MOST_EXAMPLES = 120
"""Over all classes."""
MOST_OF_A_CLASS = 8
"""Of one class; three times as many in all if rows have no class."""


class Examples:
    """Draws the same records every time, whatever their order. num_classes: 0 if rows have no class."""

    def __init__(self, num_classes: int) -> None:
        self._limit = _limit(num_classes)
        self._heaps: dict[int, list[tuple[int, int, Record]]] = {}
        self._position = 0

    def add(self, record: Record, label: int) -> None:
        """Take the record if its hash is among the smallest of its class so far."""
        self._position += 1
        if label not in self._heaps and len(self._heaps) >= MOST_EXAMPLES:
            return
        heap = self._heaps.setdefault(label, [])
        # Negative, because heapq keeps the smallest on top, and the largest hash has to go first.
        entry = (-_hash(record.id), self._position, record)
        if len(heap) < self._limit:
            heapq.heappush(heap, entry)
        else:
            heapq.heappushpop(heap, entry)

    def records(self) -> list[Record]:
        """Return the records class by class, each class in the order of the data."""
        records = []
        for label in sorted(self._heaps):
            entries = sorted(self._heaps[label], key=_position)
            records += [record for _, _, record in entries]
        return records


def _limit(num_classes: int) -> int:
    """Return how many records of one class are drawn."""
    if not num_classes:
        return 3 * MOST_OF_A_CLASS
    share = MOST_EXAMPLES // num_classes
    return max(1, min(MOST_OF_A_CLASS, share))


def _hash(id: str) -> int:
    digest = hashlib.blake2b(id.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big")


def _position(entry: tuple[int, int, Record]) -> int:
    return entry[1]
