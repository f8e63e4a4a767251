"""A folder per identity, at any depth: ``source/<person>/*`` or ``source/<alphabet>/<character>/*``, also below train, val and test."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from cvflow.data.formats.image_folder import ImageFolder
from cvflow.data.records import Record
from cvflow.data.trees import is_image
from cvflow.errors import Fault, RequestError, did_you_mean, one_of
from cvflow.registry import register
from cvflow.types import Split

Patterns = tuple[Annotated[str, Field(min_length=1)], ...]
SHOWN = 8
"""Identities that a message lists."""


@register("format", "identity_folder")
class IdentityFolder(ImageFolder):
    """An identity is the folder that an image lies in, named by its path: ``Latin/character03``. Ids are paths, as in image_folder.

    depth: so many folders of the path make the identity, what is deeper (a session, a camera) belongs to it; none = all.
    test, val: the identities of these splits, by name or pattern (``s3?``, ``Latin/*``); the others are for training. Where test names
    none, data.split carves it; an identity is always in one split whole.
    """

    gives = frozenset({"identity"})

    def __init__(
        self, source: Path | None, *, depth: Annotated[int | None, Field(ge=1)] = None, test: Patterns = (), val: Patterns = ()
    ) -> None:
        self._depth = depth
        super().__init__(source)
        self._given = self._matched({"val": val, "test": test})

    @classmethod
    def guess(cls, source: Path) -> Mapping[str, Any] | None:
        return None  # any image folder might be one

    def __iter__(self) -> Iterator[Record]:
        for entry, split, _ in self._class_files():
            if is_image(entry):
                name = self._identity(entry.path)
                read = {"image": partial(self.tree.read, entry.path)}
                yield Record(entry.path, entry.path, read, {"identity": self._index[name]}, self._given.get(name, split), group=name)

    def _identity(self, path: str) -> str:
        """The identity of an image's path."""
        folders = path.split("/")[:-1]
        return "/".join((folders if "" in self.roots else folders[1:])[: self._depth])

    def _checked_classes(self) -> tuple[str, ...]:
        names = {self._identity(entry.path) for entry, _, _ in self._class_files() if is_image(entry)}
        if len(names) < 2:
            got = f"images of one identity, '{min(names)}'" if names else "no images in folders"
            fix = "Put the images into one folder per identity, or type another data.source=<path>."
            raise RequestError(Fault(str(self.source), got, "a folder for each of two identities or more", fix))
        return tuple(sorted(names))

    def _matched(self, patterns: Mapping[Split, Patterns]) -> dict[str, Split]:
        """The split of each identity that a pattern names. RequestError where one names none, or two splits share some."""
        found: dict[str, Split] = {}
        faults = []
        for split, wanted in patterns.items():
            where = f"data.format.{split}"
            for pattern in wanted:
                names = [name for name in self.classes if fnmatchcase(name, pattern)]
                if not names:
                    fix = did_you_mean(pattern, self.classes)
                    faults.append(Fault(where, f"'{pattern}'", f"an identity or a pattern of some: {one_of(self.classes, SHOWN)}", fix))
                if shared := [name for name in names if found.get(name, split) != split]:
                    faults.append(
                        Fault(where, f"'{pattern}', which takes '{shared[0]}' that is in val as well", "splits without a common one")
                    )
                found |= dict.fromkeys(names, split)
        if not faults and len(found) == len(self.classes):
            faults = [Fault("data.format.test", "patterns that take every identity", "some that are left for training")]
        if faults:
            raise RequestError(*faults)
        return found
