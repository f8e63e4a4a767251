"""One split of a prepared dataset as the input of batch inference."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cvflow.dataset.prepared import PreparedDataset
from cvflow.dataset.row_sources.even_ranges import even_ranges
from cvflow.types import Row


@dataclass
class PreparedSource:
    """One split of a prepared dataset; only the images are passed on, not the annotations."""

    path: Path
    split: str
    images: tuple[str, ...]
    passed_over: Sequence[str] = field(init=False, default=())

    def __post_init__(self) -> None:
        self._reader = PreparedDataset(self.path).split(self.split)

    @property
    def digest(self) -> str:
        """The digest of the dataset."""
        return PreparedDataset(self.path).digest

    def __len__(self) -> int:
        return len(self._reader)

    def ids(self) -> Iterator[str]:
        for row in self._reader.rows(0, len(self), ("id",)):
            yield row["id"]

    def rows(self, start: int, stop: int) -> Iterator[Row]:
        columns = ("id", *self.images)
        return self._reader.rows(start, stop, columns)

    def ranges(self, size: int) -> list[tuple[int, int]]:
        return even_ranges(len(self), size)
