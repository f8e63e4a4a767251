"""What a format reader yields: one raw example, its image bytes not yet read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any, Protocol

from cvflow.types import Split


@dataclass(frozen=True)
class Record:
    """One raw example.

    id: unique and stable over runs. path: relative to the source, or a name; what reports say.
    images: image name -> reader of the encoded bytes. annotation: column -> value. split: where the
    data gives one. group: records of one group (a person, a sequence) stay in one split. line:
    where the annotation stands, as ``labels.csv:12``, if it stands in a file. files: image or map
    -> its file, where records are of several files. maps: column -> reader of its canonical bytes,
    for annotations that are maps; it raises ImageFault where there are none.
    """

    id: str
    path: str
    images: Mapping[str, Callable[[], bytes]]
    annotation: Mapping[str, Any]
    split: Split | None = None
    group: str | None = None
    line: str | None = None
    maps: Mapping[str, Callable[[], bytes]] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def where(self) -> str:
        """The path, and the line of its annotation."""
        return self.at("")

    def at(self, column: str) -> str:
        """The path, and the file of this image or map or the line of the annotation."""
        place = self.files.get(column, self.line)
        return f"{self.path} ({place})" if place and place != self.path else self.path


class Confidence(IntEnum):
    """How sure a format is that it reads a source."""

    NONE = 0
    """Nothing of its layout is there: it is not tried."""
    POSSIBLE = 1
    """It might be read so; nothing speaks for it."""
    LIKELY = 2
    """The layout is the format's."""
    CERTAIN = 3
    """There is a mark that only this format has."""


@dataclass(frozen=True)
class Guess:
    """What a format makes of a source whose format the user does not name.

    options: with which it would read it. near_miss: what is there of its layout, and what is wrong
    with it, if it is NONE.
    """

    confidence: Confidence
    options: Mapping[str, Any] = field(default_factory=dict)
    near_miss: str = ""


class Format(Protocol):
    """Records in a fixed order, the same at each iteration; iterating reads no image."""

    classes: tuple[str, ...]
    built_in: bool = False
    """Whether it takes no source."""
    gives: frozenset[str] = frozenset({"label"})
    """The annotations that its records can have: it is tried for tasks that need no others."""
    looks_for: str = ""
    """What it looks for, in a few words, for the message where no format finds its layout."""
    only_asked: bool = False
    """Whether it is tried only for tasks that need what it gives, other formats' data looking no
    different.
    """

    def __iter__(self) -> Iterator[Record]: ...

    def skipped(self) -> Iterable[tuple[str, str]]:
        """(path, reason) of what is in the source and in no record."""
        return ()

    @classmethod
    def guess(cls, source: Path) -> Guess:
        """Return how sure the format is that it reads this source, looking at names, at no image."""
        return Guess(Confidence.POSSIBLE)
