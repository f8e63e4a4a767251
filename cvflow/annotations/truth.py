"""A row's annotations as predictions are measured against."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cvflow.annotations import KINDS


class Truth(Mapping[str, Any]):
    """The columns of a row by name. Those that lie in the pixels are decoded, once, when they are first read.

    kinds: name of an annotation -> its kind, as in ``Schema.kinds``.
    """

    def __init__(self, row: Mapping[str, Any], kinds: Mapping[str, str]) -> None:
        self._row = row
        self._kinds = kinds
        self._decoded: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        value = self._row[name]
        if name not in self._kinds or value is None:
            return value
        if name not in self._decoded:
            self._decoded[name] = KINDS[self._kinds[name]].decode(value)
        return self._decoded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._row)

    def __len__(self) -> int:
        return len(self._row)
