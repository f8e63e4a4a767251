"""Which split each record belongs to: given splits are kept, missing ones are carved out by seeded hash.

Within a class, records are ranked by a hash of (seed, id) and the first of them make up the test split, the next
val. So the division follows from ids alone: one more file moves at most the records at the borders.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from cvflow.config import SplitRule
from cvflow.errors import CvflowError
from cvflow.formats.record import Record
from cvflow.types import SPLITS, Split

_TRAIN, _VAL, _TEST = range(len(SPLITS))
_OPEN = -1
Ints = NDArray[np.int64]


class SplitPlan:
    """The split of the i-th record of one reader; 17 bytes a record."""

    def __init__(self, records: Iterable[Record], rule: SplitRule, stratify: str | None) -> None:
        keys, classes, given = array("Q"), array("q"), array("b")
        for record in records:
            keys.append(_key(record, rule.seed))
            classes.append(int(record.annotation[stratify]) if stratify else 0)
            given.append(SPLITS.index(record.split) if record.split else _OPEN)
        self.base: Split = "test" if rule.test == 1 else "train"
        """The split that there must be, and whose pixels are counted."""
        self._seed, self._keys = rule.seed, np.asarray(keys, dtype=np.uint64)
        self._splits = divide(self._keys, np.asarray(classes), np.asarray(given), rule)

    def __len__(self) -> int:
        return len(self._keys)

    def drawn(self, count: int) -> NDArray[np.bool_]:
        """Whether each record is among (at most) ``count`` drawn by its key: the same ones each time."""
        if len(self._keys) <= count:
            return np.ones(len(self._keys), dtype=bool)
        border = np.partition(self._keys, count)[count]
        below: NDArray[np.bool_] = self._keys < border
        return below

    def over(self, records: Iterable[Record]) -> Iterator[tuple[Record, Split]]:
        """Each record with its split; CvflowError where they are not the records of the plan."""
        index = -1
        for index, record in enumerate(records):
            if index >= len(self._keys) or _key(record, self._seed) != self._keys[index]:
                raise CvflowError(
                    f"The source changed while it was read, at {record.path}. Run prepare again."
                )
            yield record, SPLITS[int(self._splits[index])]
        if index + 1 != len(self._keys):
            raise CvflowError(
                "The source changed while it was read: files are missing at the end. Run prepare again."
            )


def divide(
    keys: NDArray[np.uint64], classes: Ints, given: NDArray[np.int8], rule: SplitRule
) -> NDArray[np.int8]:
    """Splits as indices into SPLITS. Records of equal key stay together; given: -1 = none.

    test is a fraction of the records without a given split, val of the training records, given or not. 1 = all are test's.
    """
    splits = given.astype(np.int8)
    if rule.test == 1:
        return np.full_like(splits, _TEST)
    if _TEST not in given:
        _carve(splits, keys, classes, (given == _OPEN) | (given == _TRAIN), rule.test, _TEST)
    splits[splits == _OPEN] = _TRAIN
    if _VAL not in given:
        _carve(splits, keys, classes, splits == _TRAIN, rule.val, _VAL)
    if rule.train_on_val:
        splits[splits == _VAL] = _TRAIN
    return splits


def _carve(
    splits: NDArray[np.int8],
    keys: NDArray[np.uint64],
    classes: Ints,
    pool: NDArray[np.bool_],
    fraction: float,
    to: int,
) -> None:
    """Give ``fraction`` of the pool to split ``to``: of each class its share, of the shares the first units by key."""
    members = np.flatnonzero(pool)
    _, first, unit, sizes = np.unique(
        keys[members], return_index=True, return_inverse=True, return_counts=True
    )
    unit_class = classes[members][first]  # a group counts for the class of its first record
    taken = np.zeros(len(first), dtype=bool)
    labels = np.unique(unit_class)
    totals = np.array([sizes[unit_class == label].sum() for label in labels], dtype=np.int64)
    for label, quota in zip(labels, _quotas(totals, fraction), strict=True):
        units = np.flatnonzero(unit_class == label)  # np.unique sorted them by key
        before = np.cumsum(sizes[units]) - sizes[units]
        taken[units[:-1]] = (before < quota)[:-1]  # the last unit stays
    splits[members[taken[unit]]] = to


def _quotas(totals: Ints, fraction: float) -> Ints:
    """Of each class its share in whole records; the remainders that make up the total go to the largest."""
    shares = totals * fraction
    quotas: Ints = np.floor(shares).astype(np.int64)
    missing = round(totals.sum() * fraction) - int(quotas.sum())
    quotas[np.argsort(quotas - shares, kind="stable")[:missing]] += 1
    return quotas


def _key(record: Record, seed: int) -> int:
    text = f"{seed} id {record.id}" if record.group is None else f"{seed} group {record.group}"
    return int.from_bytes(
        hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).digest(), "big"
    )
