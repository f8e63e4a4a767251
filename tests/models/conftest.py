"""What the tests of models share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cvflow.config import Image
from cvflow.models.backbones.base import Backbone
from cvflow.models.classifier import Classifier
from cvflow.registry import Component, build
from cvflow.types import DatasetInfo


@pytest.fixture
def backbone() -> Callable[..., Backbone]:
    """A backbone by name and options, RGB at 32x32 unless told otherwise."""

    def make(name: str, channels: int = 3, size: tuple[int, int] = (32, 32), **options: object) -> Backbone:
        return build("backbone", Component(name=name, **options), channels, size)

    return make


@pytest.fixture
def classifier() -> Callable[..., Classifier]:
    """A classifier of the given classes."""

    def make(
        backbone: Component | str,
        channels: int = 3,
        size: tuple[int, int] = (32, 32),
        classes: int = 10,
        mean: tuple[float, ...] = (0.5, 0.5, 0.5),
        std: tuple[float, ...] = (0.25, 0.25, 0.25),
        **options: object,
    ) -> Classifier:
        info = DatasetInfo("classification", tuple(map(str, range(classes))), {}, mean, std, "")
        component = Component(name="classifier", backbone=backbone, **options)
        return build("model", component, Image(size=size, channels=channels), info)

    return make


@pytest.fixture
def published() -> Callable[[str], Path]:
    """A file of published weights; skips where it is not at hand."""

    def find(name: str) -> Path:
        path = Path(__file__).parents[2].parent / "shared/data/weights" / name
        if not path.exists():
            pytest.skip(f"the published weights {name} are not here")
        return path

    return find
