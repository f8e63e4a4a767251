"""Overlays: images with the model's answer drawn on them, for a look at predictions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image

from cvflow.annotations.image import decode
from cvflow.dataset.row_sources import RowSource
from cvflow.draw.caption import captioned
from cvflow.engine.export import TrainedModel
from cvflow.engine.infer import Predictor
from cvflow.registry import Component

FOLDER = "_overlays"
"""Readers of Parquet folders pass over what begins with _."""


def write_overlays(
    folder: Path, trained: TrainedModel, rows: RowSource, wanted: int, views: Sequence[Component] = ()
) -> None:
    """Write up to ``wanted`` images, evenly spread over the rows, to ``<row>-<name>.jpg``; unreadable ones are left out."""
    if not wanted:
        return
    folder.mkdir(exist_ok=True)
    predictor, wanted = Predictor(trained, torch.device("cpu"), views=views), min(wanted, len(rows))
    for number in sorted({i * len(rows) // wanted for i in range(wanted)}):
        (row,) = rows.rows(number, number + 1)
        task, answers = trained.task, predictor.batch([row])
        if any(answer["error"] is not None for answer in answers):
            continue
        pixels = decode(row[task.schema.images[0]], max_megapixels=task.max_megapixels)
        for answer in answers:
            pixels = task.answer.draw(pixels, answer)
        text = ", ".join(task.answer.caption(answer) for answer in answers)
        Image.fromarray(captioned(pixels, text)).save(
            folder / f"{number:08d}-{Path(row['id']).stem}.jpg", quality=90
        )
