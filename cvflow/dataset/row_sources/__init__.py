"""What batch inference reads by ranges of rows: a prepared split, folders of images, or Parquet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from cvflow.annotations.image import IMAGE_SUFFIXES
from cvflow.dataset.prepared import FILE
from cvflow.dataset.row_sources.folders import FolderSource, FoldersSource
from cvflow.dataset.row_sources.parquet import ParquetSource
from cvflow.dataset.row_sources.prepared_split import PreparedSource
from cvflow.errors import Fault, RequestError
from cvflow.types import Row

INPUTS = (
    "a folder of images (left/ and right/ where an answer takes two), an image, a Parquet file, "
    "or a prepared dataset (runs/NAME/data)"
)


class RowSource(Protocol):
    """Rows by number; crosses process borders."""

    @property
    def digest(self) -> str:
        """The hash of the contents: the same for the same images under the same names, wherever they lie."""
        ...

    @property
    def passed_over(self) -> Sequence[str]:
        """What is not read although it may look like an input: each with its name and why."""
        ...

    def __len__(self) -> int: ...

    def ids(self) -> Iterator[str]:
        """Yield the ids of all rows, without reading their images."""
        ...

    def rows(self, start: int, stop: int) -> Iterator[Row]:
        """Yield consecutive rows: ``id`` and the encoded images by name."""
        ...

    def ranges(self, size: int) -> list[tuple[int, int]]:
        """Return (start, stop) of parts of about ``size`` rows, which together are all rows.

        Reading the parts one by one costs no more than reading them together.
        """
        ...


def open_source(path: Path, images: tuple[str, ...], split: str = "test") -> RowSource:
    """Return the source at a path. Raises RequestError if it is of no known kind.

    images: names of the images of a row. split: of a prepared dataset.
    """
    if (path / FILE).is_file():
        return PreparedSource(path, split, images)
    if path.suffix == ".parquet" and path.is_file():
        return ParquetSource(path, images)
    is_image = path.is_file() and path.suffix.lower() in IMAGE_SUFFIXES
    if path.is_dir() or is_image:
        return FolderSource(path, images) if len(images) == 1 else FoldersSource(path, images)
    got = f"{path}" if path.exists() else f"{path}, which does not exist"
    raise RequestError(Fault("input", got, INPUTS))
