"""Scenes of textured layers seen twice, with exact disparity or flow: built in, made as they are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from cvflow.annotations import disparity, flow
from cvflow.annotations.image import encode_png
from cvflow.errors import Fault, RequestError
from cvflow.formats.built_in.textured_layers import Floats, Pairs, Views, drawn, render
from cvflow.formats.record import Format, Record
from cvflow.registry import register

TEST_DIGITS = 1400
"""The first of scikit-learn's digits that only test scenes wear."""
Side = Annotated[int, Field(ge=32, le=1024)]


@register("format", "layered_scenes")
class LayeredScenes(Format):
    """pairs: stereo (disparity of both views) or flow. Digits and random colours make the textures; no digit of test is in train.

    count: scenes, the last fifth of them for test. size: height and width, pixels. most: the greatest disparity, or shift, pixels.
    occluded: whether pixels that the other view does not show are known too. seed: another one, other scenes.
    """

    built_in = True
    gives = frozenset({"disparity", "disparity_right", "flow"})

    def __init__(
        self,
        source: Path | None,
        *,
        pairs: Pairs = "stereo",
        count: Annotated[int, Field(ge=5)] = 500,
        size: tuple[Side, Side] = (64, 96),
        most: Annotated[float, Field(gt=2, le=64)] = 16.0,
        occluded: bool = True,
        seed: Annotated[int, Field(ge=0)] = 0,
    ) -> None:
        if source is not None:
            raise RequestError(
                Fault("data.source", str(source), "no source: the scenes are built in", "Remove data.source.")
            )
        self.classes: tuple[str, ...] = ()
        self._pairs, self._count, self._occluded = pairs, count, occluded
        self._scene = partial(scene, pairs, tuple(size), most, seed)

    def __iter__(self) -> Iterator[Record]:
        record = self._stereo if self._pairs == "stereo" else self._flow
        for i in range(self._count):
            yield record(
                f"scene-{i:05d}",
                partial(self._scene, i, i >= self._count * 4 // 5),
                i >= self._count * 4 // 5,
            )

    def _stereo(self, name: str, views: Callable[[], Views], test: bool) -> Record:
        images = {"left": lambda: encode_png(views().first), "right": lambda: encode_png(views().second)}
        maps = {
            "disparity": lambda: disparity.encode(self._known(-views().forth[..., 0], views().seen)),
            "disparity_right": lambda: disparity.encode(self._known(views().back[..., 0], views().seen_back)),
        }
        return Record(name, name, images, {}, "test" if test else None, maps=maps)

    def _flow(self, name: str, views: Callable[[], Views], test: bool) -> Record:
        images = {"first": lambda: encode_png(views().first), "second": lambda: encode_png(views().second)}
        maps = {"flow": lambda: flow.encode(self._known(views().forth, views().seen[..., None]))}
        return Record(name, name, images, {}, "test" if test else None, maps=maps)

    def _known(self, values: Floats, seen: np.typing.NDArray[np.bool_]) -> np.typing.NDArray[np.float32]:
        return np.where(seen | self._occluded, values, np.nan).astype(np.float32)


@lru_cache(maxsize=32)  # the images and maps of a record are asked for one by one
def scene(pairs: Pairs, size: tuple[int, int], most: float, seed: int, number: int, test: bool) -> Views:
    """The same arguments give the same views."""
    glyphs = digits()[TEST_DIGITS:] if test else digits()[:TEST_DIGITS]
    return render(drawn(np.random.default_rng([seed, number]), pairs, size, glyphs, most), size)


@cache
def digits() -> Floats:
    """1797 x 8 x 8, 0..1."""
    from sklearn.datasets import load_digits  # here, so that naming the formats does not import scikit-learn

    images: Floats = load_digits().images / 16
    return images
