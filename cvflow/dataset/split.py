"""Which split each record belongs to: given splits are kept, missing ones are carved out by seeded hash.

Within a class, records are ranked by a hash of (seed, id); the first of them make up the test split, the next
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
"""In place of a split that the data does not give."""
Ints = NDArray[np.int64]


class SplitPlan:
    """The split of every record of one reader by its position; 17 bytes a record."""

    def __init__(self, records: Iterable[Record], rule: SplitRule, stratify: str | None) -> None:
        keys = array("Q")
        classes = array("q")
        given_splits = array("b")
        for record in records:
            keys.append(_key(record, rule.seed))
            classes.append(int(record.annotation[stratify]) if stratify else 0)
            given_splits.append(SPLITS.index(record.split) if record.split else _OPEN)
        self.base: Split = "test" if rule.test == 1 else "train"
        """The split that must not be empty; the pixel statistics come from it."""
        self._seed = rule.seed
        self._keys = np.asarray(keys, dtype=np.uint64)
        self._splits = divide(self._keys, np.asarray(classes), np.asarray(given_splits), rule)

    def __len__(self) -> int:
        return len(self._keys)

    def drawn(self, count: int) -> NDArray[np.bool_]:
        """Return whether each record is among (at most) ``count`` drawn by key: the same ones every time."""
        if len(self._keys) <= count:
            return np.ones(len(self._keys), dtype=bool)
        border = np.partition(self._keys, count)[count]
        below: NDArray[np.bool_] = self._keys < border
        return below

    def over(self, records: Iterable[Record]) -> Iterator[tuple[Record, Split]]:
        """Yield each record with its split. Raises CvflowError if they are not the records of the plan."""
        count = 0
        for index, record in enumerate(records):
            if index >= len(self._keys) or _key(record, self._seed) != self._keys[index]:
                raise CvflowError(
                    f"The source changed while it was read, at {record.path}. Run prepare again."
                )
            split = int(self._splits[index])
            yield record, SPLITS[split]
            count += 1
        if count != len(self._keys):
            raise CvflowError(
                "The source changed while it was read: files are missing at the end. Run prepare again."
            )


def divide(
    keys: NDArray[np.uint64], classes: Ints, given_splits: NDArray[np.int8], rule: SplitRule
) -> NDArray[np.int8]:
    """Return the splits as indices into SPLITS. Records of equal key stay together.

    given_splits: indices too, -1 = none. rule.test is a fraction of the training records, given or not, if
    the data gives no test split; rule.val then one of the training records that remain. A rule.test of 1
    makes all records test's.
    """
    splits = given_splits.astype(np.int8)
    if rule.test == 1:
        return np.full_like(splits, _TEST)
    if _TEST not in given_splits:
        pool = (given_splits == _OPEN) | (given_splits == _TRAIN)
        _carve(splits, keys, classes, pool, rule.test, _TEST)
    splits[splits == _OPEN] = _TRAIN
    if _VAL not in given_splits:
        pool = splits == _TRAIN
        _carve(splits, keys, classes, pool, rule.val, _VAL)
    if rule.train_on_val:
        splits[splits == _VAL] = _TRAIN
    return splits


def _carve(
    splits: NDArray[np.int8],
    keys: NDArray[np.uint64],
    classes: Ints,
    pool: NDArray[np.bool_],
    fraction: float,
    target: int,
) -> None:
    """Move ``fraction`` of the pool to the split ``target``, of each class its share.

    Records of one key are a unit; the first units of a class by key are moved.
    """
    members = np.flatnonzero(pool)
    _, first, unit_of, sizes = np.unique(
        keys[members], return_index=True, return_inverse=True, return_counts=True
    )
    # A group counts for the class of its first record.
    unit_classes = classes[members][first]
    moved = _first_units(unit_classes, sizes, fraction)
    splits[members[moved[unit_of]]] = target


def _first_units(unit_classes: Ints, sizes: Ints, fraction: float) -> NDArray[np.bool_]:
    """Return which units make up ``fraction`` of each class. sizes: records of each unit."""
    moved = np.zeros(len(unit_classes), dtype=bool)
    labels = np.unique(unit_classes)
    totals = np.array([sizes[unit_classes == label].sum() for label in labels], dtype=np.int64)
    quotas = _quotas(totals, fraction)
    for label, quota in zip(labels, quotas, strict=True):
        units = np.flatnonzero(unit_classes == label)  # np.unique sorted them by key
        records_before = np.cumsum(sizes[units]) - sizes[units]
        # The last unit stays, so that no class is emptied.
        moved[units[:-1]] = records_before[:-1] < quota
    return moved


def _quotas(totals: Ints, fraction: float) -> Ints:
    """Return the share of each class in whole records.

    The classes with the largest remainders get one more, until the shares add up.
    """
    shares = totals * fraction
    quotas: Ints = np.floor(shares).astype(np.int64)
    total = round(totals.sum() * fraction)
    missing = total - int(quotas.sum())
    by_remainder = np.argsort(quotas - shares, kind="stable")
    quotas[by_remainder[:missing]] += 1
    return quotas


def _key(record: Record, seed: int) -> int:
    """Return the hash by which records are ranked; it is the same for all records of a group."""
    unit = f"id {record.id}" if record.group is None else f"group {record.group}"
    text = f"{seed} {unit}"
    content = text.encode("utf-8", "surrogateescape")
    digest = hashlib.blake2b(content, digest_size=8).digest()
    return int.from_bytes(digest, "big")
