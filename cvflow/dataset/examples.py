"""Records kept to be shown: of each class a few, drawn by a hash of their ids, so that they are spread over the data."""

from __future__ import annotations

import hashlib
import heapq

from cvflow.formats.record import Record

SHOWN = 120
"""Over all classes."""
EACH = 8
"""Of one class, where rows have one; else three times as many in all."""


class Examples:
    """The same ones each time, whatever the order. classes: how many there are, 0 where rows have none."""

    def __init__(self, classes: int) -> None:
        self._each = max(1, min(EACH, SHOWN // classes)) if classes else 3 * EACH
        self._kept: dict[int, list[tuple[int, int, Record]]] = {}
        self._seen = 0

    def add(self, record: Record, label: int) -> None:
        self._seen += 1
        if label not in self._kept and len(self._kept) >= SHOWN:
            return
        kept = self._kept.setdefault(label, [])
        key = int.from_bytes(hashlib.blake2b(record.id.encode(), digest_size=8).digest(), "big")
        (heapq.heappush if len(kept) < self._each else heapq.heappushpop)(kept, (-key, self._seen, record))

    def records(self) -> list[Record]:
        """Class by class, each in the order of the data."""
        return [
            record
            for _, kept in sorted(self._kept.items())
            for _, _, record in sorted(kept, key=lambda item: item[1])
        ]
