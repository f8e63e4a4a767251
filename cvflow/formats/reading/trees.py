"""Files under a source by relative name, whether it is a folder or a zip; a zip is read where it lies."""

from __future__ import annotations

import os
import posixpath
import stat
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Literal, NamedTuple, Protocol

from cvflow.annotations.image import IMAGE_SUFFIXES
from cvflow.errors import Fault, RequestError

MOST_EXPANDED = 200
"""Times that the files of a zip may be larger than the zip itself: images hardly shrink, bombs expand a thousand times."""
SMALL = 256 * 2**20
"""Bytes up to which a zip may hold what it likes."""
_ENCRYPTED = 0x1
_APPLE = "__MACOSX"


Kind = Literal["folder", "file", "broken link", "special file", "link to a folder above it"]
"""special file: a pipe, socket or device, which is not to be opened. The last kind is of formats that follow links."""


class Entry(NamedTuple):
    """path: relative to the source, with '/'."""

    path: str
    kind: Kind

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]


class Tree(Protocol):
    """The root is ''. Names that begin with a dot are passed over."""

    source: Path

    def entries(self, folder: str) -> list[Entry]:
        """What is in a folder, sorted by name."""
        ...

    def open(self, path: str) -> BinaryIO:
        """Raises OSError, FileNotFoundError where there is no such file."""
        ...

    def read(self, path: str) -> bytes:
        """The file's bytes; raises as ``open`` does."""
        ...

    def real(self, folder: str) -> str:
        """What a folder is once links are followed."""
        ...


def open_tree(source: Path | None, expected: str) -> Tree:
    """The folder or zip at ``source``. RequestError where it is neither; ``expected`` says what is wanted of it."""
    if source is not None and source.is_dir():
        return FolderTree(source)
    if source is not None and source.suffix.lower() == ".zip" and source.is_file():
        return ZipTree(source)
    got = (
        "nothing"
        if source is None
        else f"'{source}', " + ("a file" if source.exists() else "which does not exist")
    )
    raise RequestError(Fault("data.source", got, f"{expected}, or a .zip of it", "Type data.source=<path>."))


def is_folder(tree: Tree, path: str) -> bool:
    """Whether there is a folder of that name; '' is the root."""
    above, _, name = path.strip("/").rpartition("/")
    return not name or (
        is_folder(tree, above) and any(e.name == name and e.kind == "folder" for e in tree.entries(above))
    )


def is_image(entry: Entry) -> bool:
    """By its name."""
    return entry.kind == "file" and entry.name.lower().endswith(IMAGE_SUFFIXES)


def leads_out(path: str, allowed: str = "") -> bool:
    """Whether a path leads out of the tree, and not to the folder that is allowed all the same. Links are no matter."""
    whole = posixpath.normpath(path)
    outside = whole.startswith("/") or whole.split("/")[0] == ".."
    return outside and not (allowed and whole.startswith(f"{posixpath.normpath(allowed)}/"))


class FolderTree:
    """Links are followed."""

    def __init__(self, source: Path) -> None:
        self.source = source

    def entries(self, folder: str) -> list[Entry]:
        with os.scandir(self.source / folder) as found:
            shown = sorted((e for e in found if not e.name.startswith(".")), key=lambda e: e.name)
        start = f"{folder}/" if folder else ""
        return [Entry(start + e.name, _kind(e)) for e in shown]

    def open(self, path: str) -> BinaryIO:
        return (self.source / path).open("rb")

    def read(self, path: str) -> bytes:
        with open(os.path.join(self.source, path), "rb", buffering=0) as file:
            return file.readall()

    def real(self, folder: str) -> str:
        return os.path.realpath(self.source / folder)


def _kind(entry: os.DirEntry[str]) -> Kind:
    if entry.is_dir():
        return "folder"
    return (
        "file"
        if entry.is_file()
        else "broken link"
        if entry.is_symlink() and not os.path.exists(entry)
        else "special file"
    )


class ZipTree:
    """A zip as a folder. Where all lies in one folder, as most programs pack it, that folder is the root.

    Nothing is unpacked to disk. A zip that is cut, encrypted, or looks made to do harm is refused whole.
    """

    def __init__(self, source: Path) -> None:
        self.source = source
        try:
            self._zip = zipfile.ZipFile(source)
        except (zipfile.BadZipFile, OSError, ValueError) as error:
            fix = "It may be cut: copy or download it again."
            raise RequestError(
                Fault(str(source), f"no readable zip ({error})", "a whole zip", fix)
            ) from error
        files = [
            info
            for info in self._zip.infolist()
            if not info.is_dir() and not info.filename.startswith(f"{_APPLE}/")
        ]
        faults = list(_suspicious(source, files))
        if faults:
            raise RequestError(*faults[:5])
        self._files = {info.filename: info for info in files}
        self._entries = _by_folder(self._files)
        self._root = ""
        while (only := self._lone_folder()) is not None:
            self._root += f"{only}/"

    def _lone_folder(self) -> str | None:
        """The name of the one thing at the root, where that is a folder of folders."""
        top = self.entries("")
        if len(top) != 1 or all(entry.kind == "file" for entry in self.entries(top[0].path)):
            return None
        return top[0].name

    def entries(self, folder: str) -> list[Entry]:
        found = self._entries.get(self._inside(folder).rstrip("/"), {})
        start = f"{folder}/" if folder else ""
        return [Entry(start + name, found[name]) for name in sorted(found)]

    def open(self, path: str) -> BinaryIO:
        try:
            return self._zip.open(self._files[self._inside(path)])  # type: ignore[return-value]  # IO[bytes]
        except KeyError:
            raise FileNotFoundError(None, "no such file in the zip", path) from None
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
            raise OSError(None, str(error), path) from error

    def read(self, path: str) -> bytes:
        with self.open(path) as file:
            try:
                return file.read()
            except Exception as error:  # zlib.error, lzma.LZMAError, BadZipFile, EOFError
                raise OSError(None, f"damaged in the zip: {error}", path) from error

    def real(self, folder: str) -> str:
        return self._inside(folder)

    def _inside(self, path: str) -> str:
        return f"{self._root}{path}"


def _suspicious(source: Path, files: Iterable[zipfile.ZipInfo]) -> Iterator[Fault]:
    fix = "Pack it again, or unpack it yourself and give the folder."
    total = 0
    for info in files:
        total += info.file_size
        name = PurePosixPath(info.filename.replace("\\", "/"))
        if name.is_absolute() or ".." in name.parts or ":" in name.parts[0]:
            yield Fault(
                str(source),
                f"the name '{info.filename}', which leads out of the zip",
                "names below its root",
                fix,
            )
        if stat.S_ISLNK(info.external_attr >> 16):
            yield Fault(str(source), f"'{info.filename}', a link", "files and folders", fix)
        if info.flag_bits & _ENCRYPTED:
            yield Fault(str(source), f"'{info.filename}', encrypted", "files without a password", fix)
    size = source.stat().st_size
    if total > max(SMALL, MOST_EXPANDED * size):
        got = f"{total / 1e6:,.0f} MB packed into {size / 1e6:,.1f} MB"
        yield Fault(str(source), got, f"at most {MOST_EXPANDED} times its size", fix)


def _by_folder(files: Iterable[str]) -> dict[str, dict[str, Literal["folder", "file"]]]:
    """folder -> name -> what it is; hidden names left out."""
    found: dict[str, dict[str, Literal["folder", "file"]]] = {"": {}}
    for path in files:
        parts = path.split("/")
        if any(part.startswith(".") or not part for part in parts):
            continue
        for depth, part in enumerate(parts):
            last = depth == len(parts) - 1
            found.setdefault("/".join(parts[:depth]), {}).setdefault(part, "file" if last else "folder")
    return found
