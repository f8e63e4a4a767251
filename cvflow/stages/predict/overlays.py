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
    folder: Path,
    trained: TrainedModel,
    device: torch.device,
    rows: RowSource,
    most: int,
    views: Sequence[Component] = (),
) -> None:
    """Write up to ``most`` images, evenly spread over the rows, to ``<row>-<name>.jpg``.

    An image that cannot be read is left out.
    """
    if not most:
        return
    folder.mkdir(exist_ok=True)
    predictor = Predictor(trained, device, views=views)
    task = trained.task
    count = min(most, len(rows))
    for number in sorted({index * len(rows) // count for index in range(count)}):
        (row,) = rows.rows(number, number + 1)
        (answer,) = predictor.batch([row])
        if answer["error"] is not None:
            continue
        pixels = decode(row[task.schema.images[0]], max_megapixels=task.max_megapixels)
        drawn = captioned(task.answer.draw(pixels, answer), task.answer.caption(answer))
        file = folder / f"{number:08d}-{Path(row['id']).stem}.jpg"
        Image.fromarray(drawn).save(file, quality=90)
