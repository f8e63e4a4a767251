"""Real image files for the data tests."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cvflow.data.images import encode_png
from cvflow.types import Schema


@pytest.fixture
def make_folder(tmp_path: Path) -> Callable[..., Path]:
    """An ImageFolder of distinct PNG files: ``make_folder({"cat": 3})``, or with split folders in the keys."""

    def make(counts: dict[str, int], name: str = "source") -> Path:
        draw = np.random.default_rng(0)
        for folder, count in counts.items():
            (tmp_path / name / folder).mkdir(parents=True, exist_ok=True)
            for i in range(count):
                pixels = draw.integers(0, 256, (12, 10, 3), dtype=np.uint8)
                (tmp_path / name / folder / f"{i:03d}.png").write_bytes(encode_png(pixels))
        return tmp_path / name

    return make


@pytest.fixture
def labelled() -> Schema:
    return Schema(images=("image",), annotations={"label": "int32"}, stratify="label")
