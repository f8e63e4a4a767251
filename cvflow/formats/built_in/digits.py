"""scikit-learn's 1,797 handwritten digits, 8x8 grey: built in, for a first run (UCI, Alpaydin & Kaynak 1998)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from cvflow.annotations.image import encode_png
from cvflow.errors import Fault, RequestError
from cvflow.formats.record import Format, Record
from cvflow.registry import register


@register("format", "digits")
class Digits(Format):
    """Ids digit-0000 ... digit-1796; classes "0" ... "9"."""

    built_in = True

    def __init__(self, source: Path | None) -> None:
        if source is not None:
            raise RequestError(
                Fault("data.source", str(source), "no source: the digits are built in", "Remove data.source.")
            )
        self.classes = tuple("0123456789")

    def __iter__(self) -> Iterator[Record]:
        from sklearn.datasets import (
            load_digits,  # here, so that naming the formats does not import scikit-learn
        )

        data = load_digits()
        images = np.round(data.images * (255 / 16)).astype(np.uint8)  # published as 0..16
        for i, (image, label) in enumerate(zip(images, data.target, strict=True)):
            name = f"digit-{i:04d}"
            yield Record(name, f"{name}.png", {"image": partial(encode_png, image)}, {"label": int(label)})
