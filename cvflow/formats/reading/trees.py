"""Files below a source, a folder or a zip, by relative name; a zip is read without unpacking."""

from __future__ import annotations

import os
import posixpath
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple, Protocol

from cvflow.annotations.image import IMAGE_SUFFIXES
from cvflow.errors import Fault, RequestError

Kind = Literal["folder", "file", "broken link", "special file", "link to a folder above it"]
"""special file: a pipe, socket or device, which must not be opened.

The last kind is for formats that follow links.
"""


class Entry(NamedTuple):
    """A file or folder. path: relative to the source, with '/'."""

    path: str
    kind: Kind

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]


class Tree(Protocol):
    """Files and folders below a source. The root is ''. Names that begin with a dot are left out."""

    source: Path

    def entries(self, folder: str) -> list[Entry]:
        """Return what is in a folder, sorted by name."""
        ...

    def open(self, path: str) -> BinaryIO:
        """Open a file. Raises OSError, FileNotFoundError if there is no such file."""
        ...

    def read(self, path: str) -> bytes:
        """Return the file's bytes; raises as ``open`` does."""
        ...

    def real(self, folder: str) -> str:
        """Return the folder's path once links are followed."""
        ...


def open_tree(source: Path | None, expected: str) -> Tree:
    """Return the folder or zip at ``source``; RequestError if it is neither.

    expected: what it should hold, for the message.
    """
    # Imported here, because that module imports this one.
    from cvflow.formats.reading.zips import ZipTree

    if source is not None and source.is_dir():
        return FolderTree(source)
    if source is not None and source.suffix.lower() == ".zip" and source.is_file():
        return ZipTree(source)
    got = "nothing"
    if source is not None:
        kind = "a file" if source.exists() else "which does not exist"
        got = f"'{source}', {kind}"
    raise RequestError(Fault("data.source", got, f"{expected}, or a .zip of it", "Type data.source=<path>."))


def is_folder(tree: Tree, path: str) -> bool:
    """Return whether there is a folder of that name; '' is the root."""
    parent, _, name = path.strip("/").rpartition("/")
    if not name:
        return True
    if not is_folder(tree, parent):
        return False
    return any(entry.name == name and entry.kind == "folder" for entry in tree.entries(parent))


def is_image(entry: Entry) -> bool:
    """Return whether the file's name is that of an image."""
    if entry.kind != "file":
        return False
    return entry.name.lower().endswith(IMAGE_SUFFIXES)


def leads_out(path: str, allowed: str = "") -> bool:
    """Return whether a path leads out of the tree. Links are not followed.

    allowed: a folder outside the tree that it may lead to all the same.
    """
    normal = posixpath.normpath(path)
    outside = normal.startswith("/") or normal.split("/")[0] == ".."
    if not outside or not allowed:
        return outside
    start = posixpath.normpath(allowed) + "/"
    return not normal.startswith(start)


class FolderTree:
    """A folder. Links are followed."""

    def __init__(self, source: Path) -> None:
        self.source = source

    def entries(self, folder: str) -> list[Entry]:
        start = f"{folder}/" if folder else ""
        entries = []
        with os.scandir(self.source / folder) as scanned:
            for entry in scanned:
                if not entry.name.startswith("."):
                    entries.append(Entry(start + entry.name, _kind(entry)))
        return sorted(entries)

    def open(self, path: str) -> BinaryIO:
        return (self.source / path).open("rb")

    def read(self, path: str) -> bytes:
        # Unbuffered: the file is read at once.
        with open(os.path.join(self.source, path), "rb", buffering=0) as file:
            return file.readall()

    def real(self, folder: str) -> str:
        return os.path.realpath(self.source / folder)


def _kind(entry: os.DirEntry[str]) -> Kind:
    if entry.is_dir():
        return "folder"
    if entry.is_file():
        return "file"
    if entry.is_symlink() and not os.path.exists(entry):
        return "broken link"
    return "special file"
