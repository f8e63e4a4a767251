"""What is counted while the records pass: rows, classes, sizes, pixel values, contents. A few bytes a record."""

from __future__ import annotations

import hashlib
import json
from array import array
from collections import Counter
from collections.abc import Sequence

import numpy as np

from cvflow.dataset.examples import Examples
from cvflow.dataset.findings import (
    Named,
    alone,
    contradicted,
    duplicates,
    imbalance,
    in_two_splits,
    known,
    uneven,
    unseen,
    with_two_labels,
)
from cvflow.dataset.inspect_record import THUMBNAIL, Histogram, Look
from cvflow.dataset.label_suspects import Vote, vote
from cvflow.dataset.validation import Finding, Validation
from cvflow.errors import Fault, RequestError
from cvflow.formats.record import Format, Record
from cvflow.ops.labels import VOID
from cvflow.types import SPLITS, Split

PICTURED = 40
"""Faulty records kept to be shown."""


class Tally:
    """Fed every record in order, with what a look at its images gave. label, identity: the columns of such indices, if any."""

    def __init__(self, classes: Sequence[str], label: str | None, identity: str | None = None) -> None:
        self.counts: dict[str, int] = dict.fromkeys(SPLITS, 0)
        self.class_counts: dict[str, dict[str, int]] = (
            {split: dict.fromkeys(classes, 0) for split in SPLITS} if label else {}
        )
        self.findings: list[Finding] = []
        self._classes, self._label, self._identity = classes, label, identity
        self._of_each: list[list[int]] = [[] for _ in classes] if identity else []
        self._pixels = np.zeros((3, 256), dtype=np.int64)
        self._source = hashlib.sha256()
        self._contents, self._splits, self._labels = array("Q"), array("b"), array("i")
        self._widths, self._heights = array("I"), array("I")
        self._values = np.zeros((len(SPLITS), 256), dtype=np.int64)
        self._thumbnails: list[tuple[Record, int, bytes]] = []
        self._examples = Examples(len(classes) if label else 0)

    @property
    def labelled(self) -> bool:
        return self._label is not None

    def add(self, record: Record, split: Split, look: Look) -> None:
        maps = [look.maps.hex()] if look.maps else []
        line = json.dumps(
            [record.id, look.content.hex(), record.annotation, record.split, *maps], sort_keys=True
        )
        self._source.update(f"{line}\n".encode())
        label = record.annotation[self._label] if self._label else 0
        self._contents.append(int.from_bytes(look.content[:8], "big"))
        self._splits.append(-1 if look.fault else SPLITS.index(split))
        self._labels.append(record.annotation[self._identity] if self._identity else label)
        if look.fault:
            shown = (record,) if len(self.findings) < PICTURED else ()
            where = printable(record.at(look.column))
            self.findings.append(
                Finding(where, look.fault, "left out", look.topic, shown, printable(record.id))
            )
            return
        self._add_usable(record, split, label, look)

    def _add_usable(self, record: Record, split: Split, label: int, look: Look) -> None:
        self.counts[split] += 1
        if self._label:
            self.class_counts[split][self._classes[label]] += 1
        if self._identity:
            self._of_each[record.annotation[self._identity]] += [len(self._contents) - 1]
        if look.size:
            self._widths.append(look.size[0])
            self._heights.append(look.size[1])
        if look.thumbnail:
            self._thumbnails.append((record, label, look.thumbnail))
        if look.counts is not None:
            self._values[SPLITS.index(split)] += look.counts
        self._examples.add(record, label)

    def add_pixels(self, pixels: Histogram) -> None:
        """Of images of the train split; where there is none, of test."""
        self._pixels += pixels

    @property
    def pixel_counts(self) -> dict[str, dict[str, int]]:
        """split -> class -> pixels, void left out; empty where no annotation has classes in its pixels."""
        if not self._values.any() or not self._classes:
            return {}
        return {
            split: dict(zip(self._classes, counts.tolist(), strict=False))
            for split, counts in zip(SPLITS, self._values, strict=True)
        }

    @property
    def source_digest(self) -> str:
        """Over ids, contents, annotations and given splits, what was left out included."""
        return self._source.hexdigest()

    def mean_std(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Per channel, of the pixels that were added, in 0..1. The sums are of integers: exact in any order."""
        values = np.arange(256) / 255
        count = self._pixels.sum(axis=1)
        mean = self._pixels @ values / count
        std = np.sqrt((self._pixels * (values - mean[:, None]) ** 2).sum(axis=1) / count)
        return tuple(mean.tolist()), tuple(std.tolist())

    def require_usable(self, base: Split = "train") -> None:
        """RequestError where the split, or one class in train, has no row; it names the first files left out."""
        trained = self.class_counts.get("train", {}) if base == "train" else {}
        lacking = [
            f"class '{name}' without a usable record in train" for name, count in trained.items() if not count
        ]
        if not self.counts[base]:
            lacking = [f"no usable record in {base}"]
        first = "; ".join(str(f) for f in self.findings[:3])
        fix = f"Left out: {first}." if first else "Add records, or lower data.split.val and data.split.test."
        if lacking:
            raise RequestError(*(Fault("data.source", got, "at least one", fix) for got in lacking[:10]))

    def validation(self, reader: Format) -> Validation:
        """All findings, the gravest first; ``reader`` is iterated once more where records of it are to be named."""
        compared, trained = self._vote(), self.class_counts.get("train", {})
        seen = [(_named(record), label) for record, label, _ in self._thumbnails]
        doubts = contradicted(compared.suspects, seen, self._classes)
        skipped = [
            Finding(printable(path), what, "skipped", "not a record") for path, what in reader.skipped()
        ]
        pixels = unseen(self.pixel_counts.get("train", {}))
        shared, lone = self._compared(reader)
        several = known(
            {
                name: [self._splits[at] for at in images]
                for name, images in zip(self._classes, self._of_each, strict=False)
            }
        )
        findings = [*shared, *several, *self.findings, *doubts, *uneven(trained), *lone, *pixels, *skipped]
        return Validation(
            self.counts, self.class_counts, findings, self._facts(compared), self._examples.records()
        )

    def _facts(self, compared: Vote) -> dict[str, object]:
        pairs = Counter(zip(self._widths, self._heights, strict=True))
        pixels, counted = self.pixel_counts, int(self._values.sum())
        left_out = round(int(self._values[:, VOID].sum()) / counted, 4) if counted else 0.0
        pixel_facts = (
            {"pixel_counts": pixels, "void": left_out} if pixels else {"unknown": left_out} if counted else {}
        )
        vote_facts = {
            "compared": compared.compared,
            "accuracy": compared.accuracy,
            "suspects": len(compared.suspects),
        }
        return {
            "width": _spread(self._widths),
            "height": _spread(self._heights),
            "sizes": [
                [*size, count]
                for size, count in sorted(pairs.items(), key=lambda item: (-item[1], item[0]))[:10]
            ],
            "different_sizes": len(pairs),
            "imbalance": imbalance(self.class_counts.get("train", {})),
            "neighbour_vote": vote_facts if self._label else None,
            **pixel_facts,
        }

    def _vote(self) -> Vote:
        thumbnails = np.frombuffer(b"".join(t for _, _, t in self._thumbnails), dtype=np.uint8).reshape(
            -1, THUMBNAIL**2 * 3
        )
        return vote(thumbnails, np.array([label for _, label, _ in self._thumbnails], dtype=np.int64))

    def _compared(self, reader: Format) -> tuple[list[Finding], list[Finding]]:
        """(of images that are there twice, of those that are an identity's only one)"""
        splits, labels = np.asarray(self._splits), np.asarray(self._labels)
        pairs = duplicates(np.asarray(self._contents, dtype=np.uint64), splits, labels)
        only = {
            name: images[0]
            for name, images in zip(self._classes, self._of_each, strict=False)
            if len(images) == 1
        }
        wanted = {index for pair in pairs for index in pair} | set(only.values())
        names = {i: _named(record) for i, record in enumerate(reader) if i in wanted} if wanted else {}
        shared = [*in_two_splits(pairs, splits, names), *with_two_labels(pairs, labels, names, self._classes)]
        return shared, list(alone({name: names[index] for name, index in only.items()}))


def _named(record: Record) -> Named:
    return Named(printable(record.where), printable(record.id), record)


def printable(path: str) -> str:
    """A path that is no valid UTF-8 with its odd bytes written out."""
    return path.encode("utf-8", "backslashreplace").decode()


def _spread(values: array[int]) -> dict[str, float] | None:
    """Of lengths in pixels."""
    if not values:
        return None
    lengths = np.asarray(values)
    return {
        "least": int(lengths.min()),
        "median": float(np.median(lengths)),
        "mean": round(float(lengths.mean()), 2),
        "greatest": int(lengths.max()),
    }
