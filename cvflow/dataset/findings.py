"""What is noticed about records that are kept: shared contents, contradicted labels, uneven classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cvflow.dataset.label_suspects import NEIGHBOURS, Suspect
from cvflow.dataset.validation import IDENTITY_IN_TWO_SPLITS, SHARE, Finding, printable
from cvflow.formats.record import Record
from cvflow.types import SPLITS

TINY = 10
"""A class with fewer training images is named."""
UNEVEN = 10
"""How many times larger than the smallest class the largest must be to be named."""


class Named(NamedTuple):
    """A record with its place and its id as they can be printed."""

    where: str
    id: str
    record: Record


def name_record(record: Record) -> Named:
    """Return the record with its place and id in printable form."""
    where = printable(record.where)
    id = printable(record.id)
    return Named(where, id, record)


def duplicates(
    contents: NDArray[np.uint64], splits: NDArray[np.int8], labels: NDArray[np.int32]
) -> list[tuple[int, int]]:
    """Return (first, other) positions of equal content whose split or label differs.

    splits: indices into SPLITS; records of split -1 are left out.
    """
    # A stable sort keeps equal contents in the order of the data, so that the first one stays first.
    order = np.argsort(contents, kind="stable")
    order = order[splits[order] >= 0]
    starts = np.flatnonzero(np.diff(contents[order])) + 1
    pairs = []
    for group in np.split(order, starts):
        if len(group) < 2:
            continue
        first, *repeats = group.tolist()
        for other in repeats:
            if splits[first] != splits[other] or labels[first] != labels[other]:
                pairs.append((first, other))
    return sorted(pairs)


def in_two_splits(
    pairs: Sequence[tuple[int, int]], splits: NDArray[np.int8], names: Mapping[int, Named]
) -> list[Finding]:
    """Return a finding for each image in two splits; those in train and test come first.

    These are the gravest, because they flatter the result of the test.
    """
    findings = []
    for first, other in pairs:
        if splits[first] == splits[other]:
            continue
        first_split, other_split = SPLITS[splits[first]], SPLITS[splits[other]]
        earlier, later = sorted((first_split, other_split), key=SPLITS.index)
        what = f"in {other_split}, the same bytes as {names[first].where} in {first_split}"
        findings.append(_about(what, f"{earlier} and {later}{SHARE}", names[other], names[first]))
    gravest = f"train and test{SHARE}"
    return sorted(findings, key=lambda finding: finding.topic != gravest)


def with_two_labels(
    pairs: Sequence[tuple[int, int]],
    labels: NDArray[np.int32],
    names: Mapping[int, Named],
    classes: Sequence[str],
) -> Iterator[Finding]:
    """Yield a finding for each image that has two labels."""
    for first, other in pairs:
        if labels[first] == labels[other]:
            continue
        first_class, other_class = classes[labels[first]], classes[labels[other]]
        what = f"labelled '{other_class}', the same bytes as {names[first].where}, labelled '{first_class}'"
        yield _about(what, "two labels", names[other], names[first])


def contradicted(
    suspects: Sequence[Suspect], compared: Sequence[tuple[Named, int]], classes: Sequence[str]
) -> Iterator[Finding]:
    """Yield a finding for each label that the neighbours contradict.

    compared: the records that the vote was about, with their labels.
    """
    for suspect in suspects:
        named, label = compared[suspect.index]
        what = (
            f"labelled '{classes[label]}', but none of the {NEIGHBOURS} images most like it is; "
            f"{suspect.votes} of them are '{classes[suspect.other]}'"
        )
        yield _about(what, "label suspect", named)


def lone_images(images: Mapping[str, Named]) -> Iterator[Finding]:
    """Yield a finding for each identity with one image. images: identity -> its image."""
    for name, named in images.items():
        what = f"the only image of '{name}': there is none to compare it with"
        yield _about(what, "identity with one image", named)


def shared_identities(splits_of: Mapping[str, Sequence[int]]) -> Iterator[Finding]:
    """Yield a finding for each identity that lies in two splits, so that a test on it is not one of new ones.

    splits_of: identity -> the splits of its images, as indices into SPLITS.
    """
    for name, splits in splits_of.items():
        names = [SPLITS[split] for split in sorted(set(splits))]
        if len(names) > 1:
            what = f"in {' and '.join(names)}: it is not new where it is measured"
            yield Finding(f"identity '{name}'", what, "kept", IDENTITY_IN_TWO_SPLITS)


def imbalance(class_counts: Mapping[str, int]) -> float | None:
    """Return the size of the largest class over that of the smallest.

    class_counts: class -> training images. None if the smallest class is empty or there are no classes.
    """
    counts = class_counts.values()
    least = min(counts, default=0)
    if not least:
        return None
    return round(max(counts) / least, 2)


def uneven(class_counts: Mapping[str, int]) -> Iterator[Finding]:
    """Yield findings about classes of uneven size, then empty, then tiny ones.

    class_counts: class -> training images.
    """
    ratio = imbalance(class_counts)
    if ratio is not None and ratio >= UNEVEN:
        largest = max(class_counts, key=class_counts.__getitem__)
        smallest = min(class_counts, key=class_counts.__getitem__)
        what = f"'{largest}' has {ratio:g} times the training images of '{smallest}'"
        yield Finding("all classes", what, "kept", "class imbalance")
    yield from _empty(class_counts, "no training images")
    for name, count in class_counts.items():
        if 0 < count < TINY:
            plural = "" if count == 1 else "s"
            yield Finding(f"class '{name}'", f"{count} training image{plural}", "kept", "tiny class")


def unseen(pixel_counts: Mapping[str, int]) -> Iterator[Finding]:
    """Yield a finding for each class without pixels. pixel_counts: class -> pixels in the training masks."""
    return _empty(pixel_counts, "no pixel in the training masks")


def _empty(counts: Mapping[str, int], what: str) -> Iterator[Finding]:
    for name, count in counts.items():
        if not count:
            yield Finding(f"class '{name}'", what, "kept", "empty class")


def _about(what: str, topic: str, named: Named, *similar: Named) -> Finding:
    """Return a finding about a record that is kept; those in ``similar`` are displayed beside it."""
    records = [named.record]
    for other in similar:
        records.append(other.record)
    return Finding(named.where, what, "kept", topic, records, named.id)
