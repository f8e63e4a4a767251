"""What is counted while the records pass: rows, classes, sizes, pixel values, contents.

It takes a few bytes of memory a record.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Sequence

import numpy as np

from cvflow.dataset.examples import Examples
from cvflow.dataset.findings import (
    Named,
    contradicted,
    duplicates,
    imbalance,
    in_two_splits,
    lone_images,
    name_record,
    shared_identities,
    uneven,
    unseen,
    with_two_labels,
)
from cvflow.dataset.image_sizes import ImageSizes
from cvflow.dataset.inspect_record import THUMBNAIL, Histogram, Inspection
from cvflow.dataset.label_suspects import Vote, vote
from cvflow.dataset.validation import Finding, Validation, printable
from cvflow.errors import Fault, RequestError
from cvflow.formats.record import Format, Record
from cvflow.ops.labels import VOID
from cvflow.types import SPLITS, Split

MOST_FAULTY = 40
"""Faulty records that are kept, to show them."""
_LEFT_OUT = -1
"""In place of the split of a record that cannot be used."""


class Tally:
    """Counts every record in order. label, identity: the columns of class indices, if there are any."""

    def __init__(self, classes: Sequence[str], label: str | None, identity: str | None = None) -> None:
        self.counts: dict[str, int] = dict.fromkeys(SPLITS, 0)
        self.class_counts: dict[str, dict[str, int]] = {}
        if label:
            self.class_counts = {split: dict.fromkeys(classes, 0) for split in SPLITS}
        self.findings: list[Finding] = []
        self._classes = classes
        self._label = label
        self._identity = identity
        self._pixels = np.zeros((3, 256), dtype=np.int64)
        self._label_pixels = np.zeros((len(SPLITS), 256), dtype=np.int64)
        self._source = hashlib.sha256()
        # Arrays of machine numbers, not lists: memory has to hold them for every record.
        self._contents = array("Q")
        self._splits = array("b")
        self._labels = array("i")
        self._sizes = ImageSizes()
        self._images_of: dict[int, list[int]] = {}
        self._thumbnails: list[tuple[Record, int, bytes]] = []
        self._examples = Examples(len(classes) if label else 0)

    @property
    def labelled(self) -> bool:
        """Whether rows have a single class."""
        return self._label is not None

    def add(self, record: Record, split: Split, inspection: Inspection) -> None:
        """Count a record with the result of the inspection of its images."""
        self._add_to_digest(record, inspection)
        label = record.annotation[self._label] if self._label else 0
        # Equal images of different identities are reported, as those of different classes are.
        compared_label = record.annotation[self._identity] if self._identity else label
        content = int.from_bytes(inspection.content[:8], "big")
        self._contents.append(content)
        self._labels.append(compared_label)
        if inspection.fault:
            self._splits.append(_LEFT_OUT)
            self._add_faulty(record, inspection.fault, inspection)
        else:
            self._splits.append(SPLITS.index(split))
            self._add_usable(record, split, label, inspection)

    def add_pixels(self, pixels: Histogram) -> None:
        """Count pixel values of images of the train split or, if that is empty by choice, of test."""
        self._pixels += pixels

    @property
    def pixel_counts(self) -> dict[str, dict[str, int]]:
        """split -> class -> pixels, void left out; empty if no annotation has classes in its pixels."""
        if not self._label_pixels.any() or not self._classes:
            return {}
        pixel_counts: dict[str, dict[str, int]] = {}
        for split, counts in zip(SPLITS, self._label_pixels.tolist(), strict=True):
            # There are 256 counts, more than classes.
            pixel_counts[split] = dict(zip(self._classes, counts, strict=False))
        return pixel_counts

    @property
    def source_digest(self) -> str:
        """The hash of ids, contents, annotations and given splits, of records left out too."""
        return self._source.hexdigest()

    def mean_std(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return mean and standard deviation per channel of the counted pixels, in 0..1.

        The sums are of integers, so they are exact in any order.
        """
        values = np.arange(256) / 255
        count = self._pixels.sum(axis=1)
        mean = self._pixels @ values / count
        deviations = values - mean[:, None]
        squared_deviations = deviations**2
        variance = (self._pixels * squared_deviations).sum(axis=1) / count
        std = np.sqrt(variance)
        return tuple(mean.tolist()), tuple(std.tolist())

    def require_usable(self, base: Split = "train") -> None:
        """Raise RequestError if the split, or one class in train, has no row.

        The message names the first files left out.
        """
        missing = self._missing(base)
        if not missing:
            return
        fix = "Add records, or lower data.split.val and data.split.test."
        if self.findings:
            first = "; ".join(map(str, self.findings[:3]))
            fix = f"Left out: {first}."
        faults = [Fault("data.source", got, "at least one", fix) for got in missing[:10]]
        raise RequestError(*faults)

    def validation(self, reader: Format) -> Validation:
        """Return the report, its findings ordered from the gravest.

        ``reader`` is iterated once more if records have to be named that were not kept.
        """
        result = self._vote()
        compared = [(name_record(record), label) for record, label, _ in self._thumbnails]
        train_counts = self.class_counts.get("train", {})
        train_pixels = self.pixel_counts.get("train", {})
        # Before the reader is iterated again, which may add to what it skips.
        skipped = _skipped(reader)
        shared, lone = self._compare_contents(reader)
        findings = [
            *shared,
            *shared_identities(self._splits_of_identities()),
            *self.findings,
            *contradicted(result.suspects, compared, self._classes),
            *uneven(train_counts),
            *lone,
            *unseen(train_pixels),
            *skipped,
        ]
        facts = self._facts(result)
        return Validation(self.counts, self.class_counts, findings, facts, self._examples.records())

    def _add_to_digest(self, record: Record, inspection: Inspection) -> None:
        content = [
            record.id,
            inspection.content.hex(),
            record.annotation,
            record.split,
        ]
        if inspection.maps:
            content.append(inspection.maps.hex())
        line = json.dumps(content, sort_keys=True)
        self._source.update(f"{line}\n".encode())

    def _add_faulty(self, record: Record, fault: str, inspection: Inspection) -> None:
        records = (record,) if len(self.findings) < MOST_FAULTY else ()
        where = printable(record.at(inspection.column))
        id = printable(record.id)
        self.findings.append(Finding(where, fault, "left out", inspection.topic, records, id))

    def _add_usable(self, record: Record, split: Split, label: int, inspection: Inspection) -> None:
        self.counts[split] += 1
        if self._label:
            self.class_counts[split][self._classes[label]] += 1
        if self._identity:
            identity = record.annotation[self._identity]
            images = self._images_of.setdefault(identity, [])
            images.append(len(self._contents) - 1)
        if inspection.size:
            self._sizes.add(*inspection.size)
        if inspection.thumbnail:
            self._thumbnails.append((record, label, inspection.thumbnail))
        if inspection.counts is not None:
            self._label_pixels[SPLITS.index(split)] += inspection.counts
        self._examples.add(record, label)

    def _missing(self, base: Split) -> list[str]:
        """Return what training, or the test of split ``base``, lacks."""
        if not self.counts[base]:
            return [f"no usable record in {base}"]
        if base != "train":
            return []
        train_counts = self.class_counts.get("train", {})
        empty = [name for name, count in train_counts.items() if not count]
        return [f"class '{name}' without a usable record in train" for name in empty]

    def _facts(self, result: Vote) -> dict[str, object]:
        facts = self._sizes.facts()
        facts["imbalance"] = imbalance(self.class_counts.get("train", {}))
        facts["neighbour_vote"] = _vote_facts(result) if self._label else None
        return {**facts, **self._pixel_facts()}

    def _pixel_facts(self) -> dict[str, object]:
        """Return facts about the pixels of annotations, void in label maps and unknown in others."""
        total = int(self._label_pixels.sum())
        if not total:
            return {}
        void = int(self._label_pixels[:, VOID].sum())
        share = round(void / total, 4)
        if self._classes:
            return {"pixel_counts": self.pixel_counts, "void": share}
        return {"unknown": share}

    def _vote(self) -> Vote:
        pixels = bytearray()
        labels = []
        for _, label, thumbnail in self._thumbnails:
            pixels += thumbnail
            labels.append(label)
        thumbnails = np.frombuffer(pixels, dtype=np.uint8)
        thumbnails = thumbnails.reshape(-1, THUMBNAIL**2 * 3)
        return vote(thumbnails, np.array(labels, dtype=np.int64))

    def _splits_of_identities(self) -> dict[str, list[int]]:
        """Return identity -> the splits of its images, as indices into SPLITS."""
        splits_of = {}
        for identity in sorted(self._images_of):
            positions = self._images_of[identity]
            splits_of[self._classes[identity]] = [self._splits[position] for position in positions]
        return splits_of

    def _compare_contents(self, reader: Format) -> tuple[list[Finding], list[Finding]]:
        """Return findings about images that occur twice, and about the only images of identities."""
        contents = np.asarray(self._contents, dtype=np.uint64)
        splits = np.asarray(self._splits)
        labels = np.asarray(self._labels)
        pairs = duplicates(contents, splits, labels)
        lone = self._lone_images()
        positions = set(lone.values())
        for pair in pairs:
            positions.update(pair)
        names = _names_at(reader, positions)
        shared = [
            *in_two_splits(pairs, splits, names),
            *with_two_labels(pairs, labels, names, self._classes),
        ]
        lone_names = {identity: names[position] for identity, position in lone.items()}
        return shared, list(lone_images(lone_names))

    def _lone_images(self) -> dict[str, int]:
        """Return identity -> position of its image, for identities with one image."""
        lone = {}
        for identity in sorted(self._images_of):
            positions = self._images_of[identity]
            if len(positions) == 1:
                lone[self._classes[identity]] = positions[0]
        return lone


def _vote_facts(result: Vote) -> dict[str, object]:
    return {
        "compared": result.compared,
        "accuracy": result.accuracy,
        "suspects": len(result.suspects),
    }


def _names_at(reader: Format, positions: set[int]) -> dict[int, Named]:
    """Return position -> name of the record; the source is read only if there are positions."""
    names: dict[int, Named] = {}
    if not positions:
        return names
    for position, record in enumerate(reader):
        if position in positions:
            names[position] = name_record(record)
    return names


def _skipped(reader: Format) -> list[Finding]:
    findings = []
    for path, reason in reader.skipped():
        findings.append(Finding(printable(path), reason, "skipped", "not a record"))
    return findings
