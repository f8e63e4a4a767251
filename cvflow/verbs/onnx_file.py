"""``cvflow export``: a registered model, or one in a directory, as a file that other programs run."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

from cvflow.dataset.row_sources import open_source
from cvflow.engine.export import read_model
from cvflow.engine.onnx import Exported, export_onnx
from cvflow.project.writable import check_file
from cvflow.verbs.api import locate_model

CHECKED = 256


def export(model: str | Path, out: Path, check: Path | None = None, split: str = "test") -> Exported:
    """Write a model as ONNX. check: what else to compare it with torch on, besides random images; CHECKED rows evenly spread."""
    check_file(out)
    trained = read_model(locate_model(model)[0])
    if check is None:
        return export_onnx(trained, out)
    source = open_source(check, trained.task.schema.images, split)
    wanted = min(CHECKED, len(source))
    numbers = sorted({i * len(source) // wanted for i in range(wanted)})
    return export_onnx(trained, out, chain.from_iterable(source.rows(n, n + 1) for n in numbers))
