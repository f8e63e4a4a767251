"""A format as a plug-in: a table ``amounts.csv`` with the columns file and amount, beside the images."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path

from cvflow.formats.record import Record
from cvflow.registry import register


@register("format", "amounts_csv")
class AmountsCsv:
    """Ids are the file names in the table."""

    classes: tuple[str, ...] = ()

    def __init__(self, source: Path) -> None:
        self.source = source
        with (source / "amounts.csv").open(newline="") as file:
            self.rows = list(csv.DictReader(file))

    def __iter__(self) -> Iterator[Record]:
        for row in self.rows:
            image = self.source / row["file"]
            yield Record(
                row["file"], row["file"], {"image": image.read_bytes}, {"amount": float(row["amount"])}
            )

    def skipped(self) -> Iterable[tuple[str, str]]:
        return ()
