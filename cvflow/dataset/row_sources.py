"""What batch inference reads: a split of a prepared dataset, a folder of images, or Parquet; by ranges of rows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from cvflow.annotations.image import IMAGE_SUFFIXES
from cvflow.dataset.prepared import PreparedDataset
from cvflow.dataset.statistics import printable
from cvflow.errors import CvflowError, Fault, RequestError, one_of
from cvflow.types import Row

INPUTS = "a folder of images (left/ and right/ where an answer takes two), an image, a Parquet file, or a prepared dataset (runs/NAME/data)"
HASHING_THREADS = 8


class RowSource(Protocol):
    """Rows by number; crosses process borders."""

    @property
    def digest(self) -> str:
        """The hash of the contents: the same images under the same names have the same, wherever they lie."""
        ...

    @property
    def passed_over(self) -> Sequence[str]:
        """What lies there and is not read, though it may be thought to be: each with its name and why."""
        ...

    def __len__(self) -> int: ...

    def ids(self) -> Iterator[str]:
        """Of all rows, without their images."""
        ...

    def rows(self, start: int, stop: int) -> Iterator[Row]: ...

    def ranges(self, size: int) -> list[tuple[int, int]]:
        """(start, stop) of all the rows, in parts of about ``size`` that cost no more to read apart than together."""
        ...


def even_ranges(count: int, size: int) -> list[tuple[int, int]]:
    return [(start, min(start + size, count)) for start in range(0, count, size)]


@dataclass
class PreparedSource:
    """One split of a prepared dataset; only the images are handed on, not the annotations."""

    path: Path
    split: str
    images: tuple[str, ...]
    passed_over: Sequence[str] = field(init=False, default=())

    def __post_init__(self) -> None:
        self._reader = PreparedDataset(self.path).split(self.split)

    @property
    def digest(self) -> str:
        return PreparedDataset(self.path).digest

    def __len__(self) -> int:
        return len(self._reader)

    def ids(self) -> Iterator[str]:
        return (row["id"] for row in self._reader.rows(0, len(self), ("id",)))

    def rows(self, start: int, stop: int) -> Iterator[Row]:
        return self._reader.rows(start, stop, ("id", *self.images))

    def ranges(self, size: int) -> list[tuple[int, int]]:
        return even_ranges(len(self), size)


@dataclass
class FolderSource:
    """Every image below a folder, sorted; id = path relative to it, bytes of it that are no UTF-8 written out.

    Links to images are followed, links to folders are not.
    """

    root: Path
    images: tuple[str, ...]
    files: list[str] = field(init=False)
    passed_over: Sequence[str] = field(init=False)

    def __post_init__(self) -> None:
        found = [self.root] if self.root.is_file() else self.root.rglob("*")
        self._base = self.root.parent if self.root.is_file() else self.root
        kinds = {str(path.relative_to(self._base)): _kind(path) for path in found}
        self.files = sorted(name for name, kind in kinds.items() if kind == IMAGE)
        self.passed_over = [
            f"{printable(name)} ({kind})" for name, kind in sorted(kinds.items()) if kind not in (IMAGE, "")
        ]
        if not self.files:
            got = ", ".join(["no images", *(f"but {name}" for name in self.passed_over[:1])])
            raise RequestError(Fault(str(self.root), got, f"images ({one_of(IMAGE_SUFFIXES)})"))

    @property
    def digest(self) -> str:
        """md5 over names and contents, in order. The files are read for it, several at a time."""
        total = hashlib.md5(usedforsecurity=False)
        with ThreadPoolExecutor(HASHING_THREADS) as pool:
            for name, digest in zip(
                self.files, pool.map(lambda name: _file_digest(self._base / name), self.files), strict=True
            ):
                total.update(f"{digest} {len(name)} {name}\n".encode("utf-8", "surrogateescape"))
        return total.hexdigest()

    def __len__(self) -> int:
        return len(self.files)

    def ids(self) -> Iterator[str]:
        return map(printable, self.files)

    def rows(self, start: int, stop: int) -> Iterator[Row]:
        for name in self.files[start:stop]:
            yield {"id": printable(name), self.images[0]: _contents(self._base / name)}

    def ranges(self, size: int) -> list[tuple[int, int]]:
        return even_ranges(len(self), size)


@dataclass
class FoldersSource:
    """Rows of several images: a folder for each, named after it, as ``left`` and ``right``; files of one name make a row.

    id = that name.
    """

    root: Path
    images: tuple[str, ...]
    passed_over: Sequence[str] = field(init=False)

    def __post_init__(self) -> None:
        lacking = [name for name in self.images if not (self.root / name).is_dir()]
        if lacking:
            there = sorted(p.name for p in self.root.iterdir())[:5] if self.root.is_dir() else "a file"
            fix = f"Put the images into {' and '.join(f'{name}/' for name in self.images)}, those of a row under one name."
            raise RequestError(
                Fault(
                    str(self.root),
                    f"no folder '{lacking[0]}' ({there})",
                    f"folders {', '.join(self.images)}",
                    fix,
                )
            )
        self._folders = [FolderSource(self.root / name, (name,)) for name in self.images]
        self.passed_over = [
            f"{folder.root.name}/{name}" for folder in self._folders for name in folder.passed_over
        ]
        alone = [
            (name, other.root)
            for f in self._folders
            for other in self._folders
            for name in sorted({*f.files} - {*other.files})
        ]
        if alone:
            fix = "Add it, or take its counterpart away."
            raise RequestError(
                *(
                    Fault(str(root), f"no '{printable(name)}'", "an image of that name", fix)
                    for name, root in alone[:5]
                )
            )

    @property
    def digest(self) -> str:
        """md5 over the folders' names and digests."""
        lines = "".join(
            f"{folder.digest} {name}\n" for name, folder in zip(self.images, self._folders, strict=True)
        )
        return hashlib.md5(lines.encode(), usedforsecurity=False).hexdigest()

    def __len__(self) -> int:
        return len(self._folders[0])

    def ids(self) -> Iterator[str]:
        return self._folders[0].ids()

    def rows(self, start: int, stop: int) -> Iterator[Row]:
        for parts in zip(*(folder.rows(start, stop) for folder in self._folders), strict=True):
            yield {name: value for part in parts for name, value in part.items()}

    def ranges(self, size: int) -> list[tuple[int, int]]:
        return even_ranges(len(self), size)


IMAGE = "an image"


def _kind(path: Path) -> str:
    """``IMAGE``, or what is not read: a link to a folder, and what only has an image's name; '' of all else."""
    if path.suffix.lower() in IMAGE_SUFFIXES:
        if path.is_file():
            return IMAGE
        if not path.is_dir():
            return "a special file" if path.exists() else "a broken link"
    return "a link to a folder" if path.is_symlink() and path.is_dir() else ""


@dataclass
class ParquetSource:
    """Encoded images in a binary column (or ``{bytes}`` as Hugging Face writes them); id = column ``id``, else the row's number."""

    path: Path
    images: tuple[str, ...]
    passed_over: Sequence[str] = field(init=False, default=())

    def __post_init__(self) -> None:
        with _named(self.path):
            metadata = pq.read_metadata(self.path)
            self._names = metadata.schema.to_arrow_schema().names
        self._groups = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
        missing = [name for name in self.images if name not in self._names]
        if missing:
            raise RequestError(
                Fault(
                    str(self.path),
                    f"columns {', '.join(self._names)}",
                    f"a column '{missing[0]}' of encoded images",
                )
            )

    @property
    def digest(self) -> str:
        return _file_digest(self.path)

    def __len__(self) -> int:
        return sum(self._groups)

    def ids(self) -> Iterator[str]:
        if "id" not in self._names:
            return map(str, range(len(self)))
        with _named(self.path):
            return map(str, pq.read_table(self.path, columns=["id"])["id"].to_pylist())

    def rows(self, start: int, stop: int) -> Iterator[Row]:
        columns = [name for name in ("id", *self.images) if name in self._names]
        position = 0
        with _named(self.path), pq.ParquetFile(self.path) as file:
            for group, count in enumerate(self._groups):
                if position < stop and position + count > start:
                    yield from self._group(file, group, columns, position, start, stop)
                position += count

    def ranges(self, size: int) -> list[tuple[int, int]]:
        """Whole row groups, small ones together: a part of one cannot be read without all before it."""
        starts, ranges = 0, []
        for end in accumulate(self._groups):
            if end - starts >= size or end == len(self):
                ranges.append((starts, end))
                starts = end
        return [(start, stop) for start, stop in ranges if stop > start]

    def _group(
        self, file: Any, group: int, columns: list[str], position: int, start: int, stop: int
    ) -> Iterator[Row]:
        for batch in file.iter_batches(batch_size=64, row_groups=[group], columns=columns):
            if position >= stop:
                return
            first, last = max(0, start - position), min(len(batch), stop - position)
            for offset, row in enumerate(batch[first:last].to_pylist() if first < last else ()):
                yield {
                    "id": str(row.get("id", position + first + offset)),
                    **{n: _bytes(row[n]) for n in self.images},
                }
            position += len(batch)


def _bytes(value: Any) -> bytes:
    data: bytes = value["bytes"] if isinstance(value, dict) else value
    return data


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """What is wrong with a Parquet file, as a wrong request that names it."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        got = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise RequestError(
            Fault(str(path), f"damaged content ({got})", "a Parquet file that is whole")
        ) from error


def open_source(path: Path, images: tuple[str, ...], split: str = "test") -> RowSource:
    """The source behind a path; RequestError where it is none of the kinds."""
    if (path / "dataset.json").is_file():
        return PreparedSource(path, split, images)
    if path.suffix == ".parquet" and path.is_file():
        return ParquetSource(path, images)
    if path.is_dir() or (path.is_file() and path.suffix.lower() in IMAGE_SUFFIXES):
        return FolderSource(path, images) if len(images) == 1 else FoldersSource(path, images)
    got = f"{path}" if path.exists() else f"{path}, which does not exist"
    raise RequestError(Fault("input", got, INPUTS))


def _contents(path: Path) -> bytes:
    """A file's bytes. An image that cannot be opened is a fault of the machine, not of the image: it may well be there tomorrow."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise CvflowError(f"{path}: {error.strerror}") from error


def _file_digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    except OSError as error:
        raise CvflowError(f"{path}: {error.strerror}") from error
