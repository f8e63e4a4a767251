"""What is counted while the records pass: rows, classes, pixel values, contents. A few bytes a record."""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cvflow.data.records import Format, Record
from cvflow.data.validation import Finding, Validation
from cvflow.errors import Fault, RequestError
from cvflow.types import SPLITS, Split

Histogram = NDArray[np.int64]
"""3 x 256: per channel (RGB), how many pixels have each value."""


@dataclass(frozen=True)
class Checked:
    """A record whose images were read. content: hash of their bytes. fault: why it cannot be used, if so.

    data: image name -> encoded bytes. pixels: of the first image, for records of the train split.
    """

    record: Record
    split: Split
    data: dict[str, bytes]
    content: bytes
    pixels: Histogram | None
    fault: str | None


class Tally:
    """Fed every checked record in order."""

    def __init__(self, classes: Sequence[str], label: str | None) -> None:
        self.counts: dict[str, int] = dict.fromkeys(SPLITS, 0)
        self.class_counts: dict[str, dict[str, int]] = {split: dict.fromkeys(classes, 0) for split in SPLITS} if label else {}
        self.findings: list[Finding] = []
        self._classes, self._label = classes, label
        self._pixels = np.zeros((3, 256), dtype=np.int64)
        self._source = hashlib.sha256()
        self._contents, self._splits = array("Q"), array("b")

    def add(self, checked: Checked) -> None:
        record = checked.record
        line = json.dumps([record.id, checked.content.hex(), record.annotation, record.split], sort_keys=True)
        self._source.update(f"{line}\n".encode())
        self._contents.append(int.from_bytes(checked.content[:8], "big"))
        self._splits.append(-1 if checked.fault else SPLITS.index(checked.split))
        if checked.fault:
            self.findings.append(Finding(printable(record.path), checked.fault, "left out"))
            return
        self.counts[checked.split] += 1
        if self._label:
            self.class_counts[checked.split][self._classes[record.annotation[self._label]]] += 1
        if checked.pixels is not None:
            self._pixels += checked.pixels

    @property
    def source_digest(self) -> str:
        """Over ids, contents, annotations and given splits, what was left out included."""
        return self._source.hexdigest()

    def mean_std(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Per channel, of the train split's pixels in 0..1. The sums are of integers: exact in any order."""
        values = np.arange(256) / 255
        count = self._pixels.sum(axis=1)
        mean = self._pixels @ values / count
        std = np.sqrt((self._pixels * (values - mean[:, None]) ** 2).sum(axis=1) / count)
        return tuple(mean.tolist()), tuple(std.tolist())

    def require_usable(self) -> None:
        """RequestError where train, or one class in it, has no row; it names the first files left out."""
        trained = self.class_counts.get("train", {})
        lacking = [f"class '{name}' without a usable record in train" for name, count in trained.items() if not count]
        if not self.counts["train"]:
            lacking = ["no usable record in train"]
        first = "; ".join(str(f) for f in self.findings[:3])
        fix = f"Left out: {first}." if first else "Add records, or lower data.split.val and data.split.test."
        if lacking:
            raise RequestError(*(Fault("data.source", got, "at least one", fix) for got in lacking[:10]))

    def validation(self, reader: Format) -> Validation:
        """All findings; ``reader`` is iterated once more where there are duplicates to name."""
        skipped = [Finding(printable(path), what, "skipped") for path, what in reader.skipped()]
        return Validation(self.counts, self.class_counts, [*self.findings, *self._duplicates(reader), *skipped])

    def _duplicates(self, reader: Format) -> Iterator[Finding]:
        pairs = duplicates(np.asarray(self._contents, dtype=np.uint64), np.asarray(self._splits))
        wanted = {index for pair in pairs for index in pair}
        names = {i: printable(record.path) for i, record in enumerate(reader) if i in wanted} if wanted else {}
        for first, other in pairs:
            split, its = SPLITS[self._splits[other]], SPLITS[self._splits[first]]
            yield Finding(names[other], f"in {split}, the same bytes as {names[first]} in {its}", "kept")


def duplicates(contents: NDArray[np.uint64], splits: NDArray[np.int8]) -> list[tuple[int, int]]:
    """(first, other) positions of equal content in different splits; split -1 is passed over."""
    order = np.argsort(contents, kind="stable")
    order = order[splits[order] >= 0]
    starts = np.flatnonzero(np.diff(contents[order])) + 1
    sets = [members for members in np.split(order, starts) if len(members) > 1]
    return sorted((int(m[0]), int(other)) for m in sets for other in m[1:] if splits[other] != splits[m[0]])


def printable(path: str) -> str:
    """A path that is no valid UTF-8 with its odd bytes written out."""
    return path.encode("utf-8", "backslashreplace").decode()
