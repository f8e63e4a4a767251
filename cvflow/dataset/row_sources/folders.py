"""Folders of images as the input of batch inference: one folder, or one for each image of a row."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cvflow.annotations.image import IMAGE_SUFFIXES
from cvflow.dataset.row_sources.even_ranges import even_ranges
from cvflow.dataset.row_sources.input_files import contents, file_digest
from cvflow.dataset.validation import printable
from cvflow.errors import Fault, RequestError, one_of
from cvflow.types import Row

HASHING_THREADS = 8
MOST_LISTED = 5
"""Names that an error message lists."""
_IMAGE = "an image"


@dataclass
class FolderSource:
    """Every image below a folder, sorted.

    id = path relative to the folder, with bytes that are not UTF-8 written out. Links to images are
    followed, links to folders are not. The root may also be a single image.
    """

    root: Path
    images: tuple[str, ...]
    files: list[str] = field(init=False)
    passed_over: Sequence[str] = field(init=False)

    def __post_init__(self) -> None:
        self.files = []
        self.passed_over = []
        self._base = self.root.parent if self.root.is_file() else self.root
        for name, kind in sorted(self._kinds().items()):
            if kind == _IMAGE:
                self.files.append(name)
            elif kind:
                self.passed_over.append(f"{printable(name)} ({kind})")
        if not self.files:
            got = "no images"
            if self.passed_over:
                got += f", but {self.passed_over[0]}"
            raise RequestError(Fault(str(self.root), got, f"images ({one_of(IMAGE_SUFFIXES)})"))

    @property
    def digest(self) -> str:
        """The md5 over names and contents, in order. The files are read for it, several at a time."""
        paths = [self._base / name for name in self.files]
        total = hashlib.md5(usedforsecurity=False)
        with ThreadPoolExecutor(HASHING_THREADS) as pool:
            for name, digest in zip(self.files, pool.map(file_digest, paths), strict=True):
                # The length of the name keeps two lists of names from looking like one.
                line = f"{digest} {len(name)} {name}\n"
                total.update(line.encode("utf-8", "surrogateescape"))
        return total.hexdigest()

    def __len__(self) -> int:
        return len(self.files)

    def ids(self) -> Iterator[str]:
        return map(printable, self.files)

    def rows(self, start: int, stop: int) -> Iterator[Row]:
        image = self.images[0]
        for name in self.files[start:stop]:
            yield {"id": printable(name), image: contents(self._base / name)}

    def ranges(self, size: int) -> list[tuple[int, int]]:
        return even_ranges(len(self), size)

    def _kinds(self) -> dict[str, str]:
        """Return path relative to the base -> what ``_kind`` says about it."""
        paths = [self.root] if self.root.is_file() else self.root.rglob("*")
        kinds = {}
        for path in paths:
            name = str(path.relative_to(self._base))
            kinds[name] = _kind(path)
        return kinds


@dataclass
class FoldersSource:
    """Rows of several images: a folder for each, named after it, as ``left`` and ``right``.

    Files of one name make a row; id = that name.
    """

    root: Path
    images: tuple[str, ...]
    passed_over: Sequence[str] = field(init=False)

    def __post_init__(self) -> None:
        self._check_folders()
        self._folders = [FolderSource(self.root / name, (name,)) for name in self.images]
        self._check_counterparts()
        self.passed_over = []
        for folder in self._folders:
            for name in folder.passed_over:
                self.passed_over.append(f"{folder.root.name}/{name}")

    @property
    def digest(self) -> str:
        """The md5 over the folders' names and digests."""
        total = hashlib.md5(usedforsecurity=False)
        for name, folder in zip(self.images, self._folders, strict=True):
            line = f"{folder.digest} {name}\n"
            total.update(line.encode())
        return total.hexdigest()

    def __len__(self) -> int:
        return len(self._folders[0])

    def ids(self) -> Iterator[str]:
        return self._folders[0].ids()

    def rows(self, start: int, stop: int) -> Iterator[Row]:
        rows_of_folders = [folder.rows(start, stop) for folder in self._folders]
        for parts in zip(*rows_of_folders, strict=True):
            row: dict[str, Any] = {}
            for part in parts:
                row.update(part)
            yield row

    def ranges(self, size: int) -> list[tuple[int, int]]:
        return even_ranges(len(self), size)

    def _check_folders(self) -> None:
        """Raise RequestError if an image has no folder."""
        missing = [name for name in self.images if not (self.root / name).is_dir()]
        if not missing:
            return
        entries: list[str] | str = "a file"
        if self.root.is_dir():
            entries = sorted(path.name for path in self.root.iterdir())[:MOST_LISTED]
        folders = " and ".join(f"{name}/" for name in self.images)
        fault = Fault(
            str(self.root),
            f"no folder '{missing[0]}' ({entries})",
            f"folders {', '.join(self.images)}",
            f"Put the images into {folders}, those of a row under one name.",
        )
        raise RequestError(fault)

    def _check_counterparts(self) -> None:
        """Raise RequestError if an image has no counterpart in another folder."""
        faults = []
        for folder in self._folders:
            for other in self._folders:
                fix = "Add it, or take its counterpart away."
                for name in sorted(set(folder.files) - set(other.files)):
                    got = f"no '{printable(name)}'"
                    faults.append(Fault(str(other.root), got, "an image of that name", fix))
        if faults:
            raise RequestError(*faults[:MOST_LISTED])


def _kind(path: Path) -> str:
    """Return ``_IMAGE``, or what looks like an input but is not read; empty for everything else.

    Not read are links to folders, and what only has the name of an image.
    """
    if path.is_dir():
        return "a link to a folder" if path.is_symlink() else ""
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        return ""
    if path.is_file():
        return _IMAGE
    return "a special file" if path.exists() else "a broken link"
