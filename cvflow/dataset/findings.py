"""What is noticed about records that are kept: shared contents, contradicted labels, uneven classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cvflow.dataset.label_suspects import NEIGHBOURS, Suspect
from cvflow.dataset.validation import KNOWN, SHARE, Finding
from cvflow.formats.record import Record
from cvflow.types import SPLITS

TINY = 10
"""A class with fewer training images is named."""
UNEVEN = 10
"""Times that the largest class may be larger than the smallest before it is said."""


class Named(NamedTuple):
    """A record, where it is and its id, as they can be printed."""

    where: str
    id: str
    record: Record


def duplicates(
    contents: NDArray[np.uint64], splits: NDArray[np.int8], labels: NDArray[np.int32]
) -> list[tuple[int, int]]:
    """(first, other) positions of equal content where split or label differs; split -1 is passed over."""
    order = np.argsort(contents, kind="stable")
    order = order[splits[order] >= 0]
    starts = np.flatnonzero(np.diff(contents[order])) + 1
    sets = [members for members in np.split(order, starts) if len(members) > 1]
    pairs = [(m[0], other) for m in sets for other in m[1:]]
    return sorted((int(a), int(b)) for a, b in pairs if splits[a] != splits[b] or labels[a] != labels[b])


def in_two_splits(
    pairs: Sequence[tuple[int, int]], splits: NDArray[np.int8], names: Mapping[int, Named]
) -> list[Finding]:
    """One image in two splits; those in train and test, which flatter the result, first."""
    found = []
    for first, other in pairs:
        if splits[first] != splits[other]:
            earlier, later = sorted((int(splits[first]), int(splits[other])))
            what = f"in {SPLITS[splits[other]]}, the same bytes as {names[first].where} in {SPLITS[splits[first]]}"
            found.append(
                _about(what, f"{SPLITS[earlier]} and {SPLITS[later]}{SHARE}", names[other], names[first])
            )
    return sorted(found, key=lambda f: f.topic != f"train and test{SHARE}")


def with_two_labels(
    pairs: Sequence[tuple[int, int]],
    labels: NDArray[np.int32],
    names: Mapping[int, Named],
    classes: Sequence[str],
) -> Iterator[Finding]:
    for first, other in pairs:
        if labels[first] != labels[other]:
            one, two = classes[labels[other]], classes[labels[first]]
            what = f"labelled '{one}', the same bytes as {names[first].where}, labelled '{two}'"
            yield _about(what, "two labels", names[other], names[first])


def contradicted(
    suspects: Sequence[Suspect], seen: Sequence[tuple[Named, int]], classes: Sequence[str]
) -> Iterator[Finding]:
    """seen: the records that were compared, with their labels."""
    for suspect in suspects:
        named, label = seen[suspect.index]
        own, other = classes[label], classes[suspect.other]
        what = f"labelled '{own}', but none of the {NEIGHBOURS} images most like it is; {suspect.votes} of them are '{other}'"
        yield _about(what, "label suspect", named)


def _about(what: str, topic: str, named: Named, *others: Named) -> Finding:
    return Finding(
        named.where, what, "kept", topic, (named.record, *(other.record for other in others)), named.id
    )


def alone(images: Mapping[str, Named]) -> Iterator[Finding]:
    """images: the only one of an identity."""
    for name, named in images.items():
        yield _about(
            f"the only image of '{name}': there is none to compare it with", "identity with one image", named
        )


def known(splits_of: Mapping[str, Sequence[int]]) -> Iterator[Finding]:
    """Identities that are not new where they are measured. splits_of: identity -> the splits of its images, as indices into SPLITS."""
    for name, splits in splits_of.items():
        among = [SPLITS[split] for split in sorted(set(splits))]
        if len(among) > 1:
            yield Finding(
                f"identity '{name}'",
                f"in {' and '.join(among)}: it is not new where it is measured",
                "kept",
                KNOWN,
            )


def imbalance(trained: Mapping[str, int]) -> float | None:
    """Training images of the largest class over those of the smallest; None where that has none, or there are no classes."""
    counts = trained.values()
    return round(max(counts) / min(counts), 2) if min(counts, default=0) else None


def uneven(trained: Mapping[str, int]) -> Iterator[Finding]:
    """trained: class -> training images."""
    ratio = imbalance(trained)
    if ratio is not None and ratio >= UNEVEN:
        largest, smallest = max(trained, key=lambda c: trained[c]), min(trained, key=lambda c: trained[c])
        what = f"'{largest}' has {ratio:g} times the training images of '{smallest}'"
        yield Finding("all classes", what, "kept", "class imbalance")
    yield from (
        Finding(f"class '{name}'", "no training images", "kept", "empty class")
        for name, count in trained.items()
        if not count
    )
    for name, count in trained.items():
        if 0 < count < TINY:
            yield Finding(
                f"class '{name}'", f"{count} training image{'s' * (count != 1)}", "kept", "tiny class"
            )


def unseen(trained: Mapping[str, int]) -> Iterator[Finding]:
    """trained: class -> pixels in the training masks."""
    for name, pixels in trained.items():
        if not pixels:
            yield Finding(f"class '{name}'", "no pixel in the training masks", "kept", "empty class")
