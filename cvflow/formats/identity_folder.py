"""A folder per identity, at any depth: ``source/<person>/*`` or
``source/<alphabet>/<character>/*``, also below train, val and test.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from cvflow.annotations.image import decode, encode_png
from cvflow.errors import Fault, RequestError, did_you_mean, one_of
from cvflow.formats.image_folder import ImageFolder
from cvflow.formats.reading.trees import is_image
from cvflow.formats.record import Record
from cvflow.registry import register
from cvflow.types import Split

Patterns = tuple[Annotated[str, Field(min_length=1)], ...]
ANGLES = (0, 90, 180, 270)
SHOWN = 8
"""Identities that a message lists."""


@register("format", "identity_folder")
class IdentityFolder(ImageFolder):
    """An identity is the folder that an image lies in, named by its path: ``Latin/character03``.

    Ids are paths, as in image_folder.

    depth: so many folders of the path make the identity, what is deeper (a session, a camera)
    belongs to it; none = all. test, val: the identities of these splits, by name or pattern
    (``s3?``, ``Latin/*``); the others are for training. Where test names none, data.split carves
    it, each identity whole. Where the source has folders of splits, an identity may be in several:
    it is said. turned: every identity that is not given to test is three more, its images turned by
    90, 180 and 270 degrees: for characters and the like, of which there are too few (Santoro et al.
    2016, arXiv 1605.06065).
    """

    gives = frozenset({"identity"})
    only_asked = True
    looks_for = "a folder of images for each identity, at any depth"

    def __init__(
        self,
        source: Path | None,
        *,
        depth: Annotated[int | None, Field(ge=1)] = None,
        test: Patterns = (),
        val: Patterns = (),
        turned: bool = False,
    ) -> None:
        self._depth, self._turned = depth, turned
        super().__init__(source)
        self._given = self._matched({"val": val, "test": test})
        self.classes = tuple(sorted({self._named(name, angle) for name, _, _, angle in self._images()}))

    def __iter__(self) -> Iterator[Record]:
        for name, path, split, angle in self._images():
            read = partial(self.tree.read, path)
            image = partial(turned_by, read, angle) if angle else read
            who = {"identity": self._index[self._named(name, angle)]}
            yield Record(self._named(path, angle), path, {"image": image}, who, split, group=name)

    def _images(self) -> Iterator[tuple[str, str, Split | None, int]]:
        """(identity as it lies in the source, path, split, angle) of each image and of its turned copies."""
        for entry, folder, _ in self._class_files():
            if is_image(entry):
                name = self._identity(entry.path)
                split = self._given.get(name, folder)
                yield from (
                    (name, entry.path, split, angle)
                    for angle in (ANGLES if self._turned and split != "test" else (0,))
                )

    def _named(self, name: str, angle: int) -> str:
        return f"{name}@{angle}" if angle else name

    def _identity(self, path: str) -> str:
        """The identity of an image's path."""
        folders = path.split("/")[:-1]
        return "/".join((folders if "" in self.roots else folders[1:])[: self._depth])

    def _checked_classes(self) -> tuple[str, ...]:
        names = {self._identity(entry.path) for entry, _, _ in self._class_files() if is_image(entry)}
        if len(names) < 2:
            got = f"images of one identity, '{min(names)}'" if names else "no images in folders"
            fix = "Put the images into one folder per identity, or type another data.source=<path>."
            raise RequestError(
                Fault(str(self.source), got, "a folder for each of two identities or more", fix)
            )
        return tuple(sorted(names))

    def _matched(self, patterns: Mapping[Split, Patterns]) -> dict[str, Split]:
        """The split of each identity that a pattern names.

        RequestError where one names none, or two splits share some.
        """
        splits: dict[str, Split] = {}
        faults = []
        for split, split_patterns in patterns.items():
            where = f"data.format.{split}"
            for pattern in split_patterns:
                names = [name for name in self.classes if fnmatchcase(name, pattern)]
                if not names:
                    fix = did_you_mean(pattern, self.classes)
                    faults.append(
                        Fault(
                            where,
                            f"'{pattern}'",
                            f"an identity or a pattern of some: {one_of(self.classes, SHOWN)}",
                            fix,
                        )
                    )
                if shared := [name for name in names if splits.get(name, split) != split]:
                    faults.append(
                        Fault(
                            where,
                            f"'{pattern}', which takes '{shared[0]}' that is in val as well",
                            "splits without a common one",
                        )
                    )
                splits |= dict.fromkeys(names, split)
        if not faults and len(splits) == len(self.classes):
            faults = [
                Fault(
                    "data.format.test", "patterns that take every identity", "some that are left for training"
                )
            ]
        if faults:
            raise RequestError(*faults)
        return splits


def turned_by(read: Callable[[], bytes], angle: int) -> bytes:
    """The image anticlockwise by a multiple of 90 degrees, as PNG. Raises ImageFault."""
    return encode_png(np.rot90(decode(read()), angle // 90))
