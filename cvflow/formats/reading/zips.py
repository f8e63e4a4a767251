"""A zip as a tree of files, read without unpacking."""

from __future__ import annotations

import stat
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Literal

from cvflow.errors import Fault, RequestError
from cvflow.formats.reading.trees import Entry

MOST_EXPANDED = 200
"""Times that the files of a zip may be larger than the zip itself.

Images hardly shrink; zips made to fill a disk expand a thousand times.
"""
SMALL = 256 * 2**20
"""Bytes up to which the files of a zip may be any number of times larger."""
_ENCRYPTED = 0x1
_APPLE = "__MACOSX/"
_MOST_FAULTS = 5


class ZipTree:
    """A zip as a folder. If all lies in one folder, as most programs pack it, that folder is the root.

    Nothing is unpacked to disk. A zip that is cut, encrypted, or looks made to do harm is refused.
    """

    def __init__(self, source: Path) -> None:
        self.source = source
        self._zip = _opened(source)
        files = [info for info in self._zip.infolist() if _is_data(info)]
        faults = list(_suspicious(source, files))
        if faults:
            raise RequestError(*faults[:_MOST_FAULTS])
        self._files = {info.filename: info for info in files}
        self._entries = _by_folder(self._files)
        self._root = ""
        while (name := self._lone_folder()) is not None:
            self._root += f"{name}/"

    def _lone_folder(self) -> str | None:
        """Return the name of the only entry at the root, if that is a folder with folders in it."""
        top = self.entries("")
        if len(top) != 1:
            return None
        (entry,) = top
        if all(inner.kind == "file" for inner in self.entries(entry.path)):
            return None
        return entry.name

    def entries(self, folder: str) -> list[Entry]:
        path = self._inside(folder).rstrip("/")
        start = f"{folder}/" if folder else ""
        entries = []
        for name, kind in self._entries.get(path, {}).items():
            entries.append(Entry(start + name, kind))
        return sorted(entries)

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
            # zlib.error, lzma.LZMAError, BadZipFile, EOFError
            except Exception as error:
                raise OSError(None, f"damaged in the zip: {error}", path) from error

    def real(self, folder: str) -> str:
        return self._inside(folder)

    def _inside(self, path: str) -> str:
        """Return the path in the zip."""
        return f"{self._root}{path}"


def _opened(source: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(source)
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        got = f"no readable zip ({error})"
        fix = "It may be cut: copy or download it again."
        raise RequestError(Fault(str(source), got, "a whole zip", fix)) from error


def _is_data(info: zipfile.ZipInfo) -> bool:
    """Return whether it is a file other than those that macOS adds."""
    from_apple = info.filename.startswith(_APPLE)
    return not from_apple and not info.is_dir()


def _suspicious(source: Path, files: Iterable[zipfile.ZipInfo]) -> Iterator[Fault]:
    """Yield what makes a zip look made to do harm, or unreadable."""
    fix = "Pack it again, or unpack it yourself and give the folder."
    total = 0
    for info in files:
        total += info.file_size
        name = info.filename
        if _leads_out(name):
            got = f"the name '{name}', which leads out of the zip"
            yield Fault(str(source), got, "names below its root", fix)
        if stat.S_ISLNK(info.external_attr >> 16):
            yield Fault(str(source), f"'{name}', a link", "files and folders", fix)
        if info.flag_bits & _ENCRYPTED:
            yield Fault(str(source), f"'{name}', encrypted", "files without a password", fix)
    size = source.stat().st_size
    if total > max(SMALL, MOST_EXPANDED * size):
        got = f"{total / 1e6:,.0f} MB packed into {size / 1e6:,.1f} MB"
        yield Fault(str(source), got, f"at most {MOST_EXPANDED} times its size", fix)


def _leads_out(name: str) -> bool:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts:
        return True
    # A drive on Windows.
    return ":" in path.parts[0]


def _by_folder(files: Iterable[str]) -> dict[str, dict[str, Literal["folder", "file"]]]:
    """Return folder -> name -> what it is, without hidden names."""
    folders: dict[str, dict[str, Literal["folder", "file"]]] = {"": {}}
    for path in files:
        parts = path.split("/")
        if any(part.startswith(".") or not part for part in parts):
            continue
        for depth, part in enumerate(parts):
            folder = "/".join(parts[:depth])
            is_last = depth == len(parts) - 1
            names = folders.setdefault(folder, {})
            names.setdefault(part, "file" if is_last else "folder")
    return folders
