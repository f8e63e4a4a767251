"""scikit-learn's 1,797 handwritten digits, 8x8 grey, built in for a first run (UCI, 1998).

Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from cvflow.annotations.image import encode_png
from cvflow.formats.built_in.source import refuse_source
from cvflow.formats.record import Format, Record
from cvflow.registry import register


@register("format", "digits")
class Digits(Format):
    """Ids digit-0000 ... digit-1796; classes "0" ... "9"."""

    built_in = True

    def __init__(self, source: Path | None) -> None:
        refuse_source(source, "digits")
        self.classes = tuple("0123456789")

    def __iter__(self) -> Iterator[Record]:
        # Imported here, so that listing the formats does not import scikit-learn.
        from sklearn.datasets import load_digits

        data = load_digits()
        # Published as 0..16.
        images = np.round(data.images * (255 / 16)).astype(np.uint8)
        for i, label in enumerate(data.target):
            name = f"digit-{i:04d}"
            yield Record(
                id=name,
                path=f"{name}.png",
                images={"image": partial(encode_png, images[i])},
                annotation={"label": int(label)},
            )
