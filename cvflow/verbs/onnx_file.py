"""``cvflow export``: a registered model, or one in a directory, as a file that other programs run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from cvflow.dataset.row_sources import RowSource, open_source
from cvflow.engine.export import read_model
from cvflow.engine.onnx import Exported, export_onnx
from cvflow.project.plugins import use_plugins
from cvflow.project.writable import check_file
from cvflow.types import Row
from cvflow.verbs.api import locate_model

CHECKED = 256
"""Rows on which the file is compared with torch."""


def export(
    model: str | Path,
    out: Path,
    check: Path | None = None,
    split: str = "test",
    plugins: Sequence[Path] = (),
) -> Exported:
    """Write a model as ONNX.

    check: data on which the file is compared with torch, besides random images.
    plugins: files that register components.
    """
    use_plugins(plugins)
    check_file(out)
    directory, _ = locate_model(model)
    trained = read_model(directory)
    if check is None:
        return export_onnx(trained, out)
    source = open_source(check, trained.task.schema.images, split)
    return export_onnx(trained, out, spread_rows(source, CHECKED))


def spread_rows(source: RowSource, most: int) -> Iterator[Row]:
    """Yield at most ``most`` rows, evenly spread over the source."""
    count = min(most, len(source))
    for i in range(count):
        number = i * len(source) // count
        yield from source.rows(number, number + 1)
