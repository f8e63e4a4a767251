"""What batch inference reads: a split of a prepared dataset, a folder of images, or Parquet; by ranges of rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pyarrow.parquet as pq

from cvflow.data.dataset import PreparedDataset
from cvflow.data.images import IMAGE_SUFFIXES
from cvflow.errors import Fault, RequestError, one_of
from cvflow.types import Row

INPUTS = "a folder of images, an image, a Parquet file, or a prepared dataset (runs/NAME/data)"


class RowSource(Protocol):
    """Rows by number; crosses process borders. digest: of the data, where it is known."""

    digest: str | None

    def __len__(self) -> int: ...

    def rows(self, start: int, stop: int) -> Iterator[Row]: ...


@dataclass
class PreparedSource:
    """One split of a prepared dataset; only the images are handed on, not the annotations."""

    path: Path
    split: str
    images: tuple[str, ...]
    digest: str | None = None

    def __post_init__(self) -> None:
        self._reader = PreparedDataset(self.path).split(self.split)

    def __len__(self) -> int:
        return len(self._reader)

    def rows(self, start: int, stop: int) -> Iterator[Row]:
        for index in range(start, stop):
            row = self._reader[index]
            yield {"id": row["id"], **{name: row[name] for name in self.images}}


@dataclass
class FolderSource:
    """Every image below a folder, sorted; id = path relative to it."""

    root: Path
    images: tuple[str, ...]
    digest: str | None = None
    files: list[str] = field(init=False)

    def __post_init__(self) -> None:
        found = [self.root] if self.root.is_file() else self.root.rglob("*")
        base = self.root.parent if self.root.is_file() else self.root
        self._base = base
        self.files = sorted(str(p.relative_to(base)) for p in found if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())
        if not self.files:
            raise RequestError(Fault(str(self.root), "no images", f"images ({one_of(IMAGE_SUFFIXES)})"))

    def __len__(self) -> int:
        return len(self.files)

    def rows(self, start: int, stop: int) -> Iterator[Row]:
        for name in self.files[start:stop]:
            yield {"id": name, self.images[0]: (self._base / name).read_bytes()}


@dataclass
class ParquetSource:
    """Encoded images in a binary column (or ``{bytes}`` as Hugging Face writes them); id = column ``id``, else the row's number."""

    path: Path
    images: tuple[str, ...]
    digest: str | None = None

    def __post_init__(self) -> None:
        self._names = pq.read_schema(self.path).names
        missing = [name for name in self.images if name not in self._names]
        if missing:
            raise RequestError(Fault(str(self.path), f"columns {', '.join(self._names)}", f"a column '{missing[0]}' of encoded images"))

    def __len__(self) -> int:
        return int(pq.read_metadata(self.path).num_rows)

    def rows(self, start: int, stop: int) -> Iterator[Row]:
        columns = [name for name in ("id", *self.images) if name in self._names]
        position = 0
        with pq.ParquetFile(self.path) as file:
            for group in range(file.num_row_groups):
                count = file.metadata.row_group(group).num_rows
                if position < stop and position + count > start:
                    yield from self._group(file, group, columns, position, start, stop)
                position += count

    def _group(self, file: Any, group: int, columns: list[str], position: int, start: int, stop: int) -> Iterator[Row]:
        for batch in file.iter_batches(batch_size=64, row_groups=[group], columns=columns):
            if position < stop and position + len(batch) > start:
                first, last = max(0, start - position), min(len(batch), stop - position)
                for offset, row in enumerate(batch.slice(first, last - first).to_pylist()):
                    yield {"id": str(row.get("id", position + first + offset)), **{n: _bytes(row[n]) for n in self.images}}
            position += len(batch)


def _bytes(value: Any) -> bytes:
    data: bytes = value["bytes"] if isinstance(value, dict) else value
    return data


def open_source(path: Path, images: tuple[str, ...], split: str = "test") -> RowSource:
    """The source behind a path; RequestError where it is none of the kinds."""
    if (path / "dataset.json").is_file():
        return PreparedSource(path, split, images, PreparedDataset(path).digest)
    if path.suffix == ".parquet" and path.is_file():
        return ParquetSource(path, images, _file_digest(path))
    if path.is_dir() or (path.is_file() and path.suffix.lower() in IMAGE_SUFFIXES):
        return FolderSource(path, images)
    got = f"{path}" if path.exists() else f"{path}, which does not exist"
    raise RequestError(Fault("input", got, INPUTS))


def _file_digest(path: Path) -> str:
    import hashlib

    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()
