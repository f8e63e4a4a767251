"""Built-in scenes of textured layers seen twice, with exact disparity or flow, made as they are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from cvflow.annotations import disparity, flow
from cvflow.annotations.image import encode_png
from cvflow.formats.built_in.random_layers import random_layers
from cvflow.formats.built_in.source import refuse_source
from cvflow.formats.built_in.textured_layers import Floats, Pairs, Views, render
from cvflow.formats.record import Format, Record
from cvflow.registry import register
from cvflow.types import Split

TEST_DIGITS = 1400
"""The first of scikit-learn's digits that are for the textures of test scenes alone."""
Side = Annotated[int, Field(ge=32, le=1024)]


@register("format", "layered_scenes")
class LayeredScenes(Format):
    """Textures are made of digits and random colours; no digit of the test split is in train.

    pairs: stereo (disparity of both views) or flow. count: number of scenes; the last fifth is for test.
    size: height and width, pixels. most: the greatest disparity, or shift, pixels. occluded: whether
    pixels that the other view does not show have values too. seed: another seed gives other scenes.
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
        refuse_source(source, "scenes")
        self.classes: tuple[str, ...] = ()
        self._pairs = pairs
        self._count = count
        self._occluded = occluded
        self._scene = partial(scene, pairs, tuple(size), most, seed)

    def __iter__(self) -> Iterator[Record]:
        make_record = self._stereo if self._pairs == "stereo" else self._flow
        first_of_test = self._count * 4 // 5
        for number in range(self._count):
            test = number >= first_of_test
            views = partial(self._scene, number, test)
            yield make_record(f"scene-{number:05d}", views, "test" if test else None)

    def _stereo(self, name: str, views: Callable[[], Views], split: Split | None) -> Record:
        def left() -> bytes:
            return encode_png(views().first)

        def right() -> bytes:
            return encode_png(views().second)

        def disparity_of_left() -> bytes:
            both = views()
            # From the left view to the right one a point moves to the left.
            values = -both.forth[..., 0]
            valid = self._valid(values, both.seen)
            return disparity.encode(valid)

        def disparity_of_right() -> bytes:
            both = views()
            values = both.back[..., 0]
            valid = self._valid(values, both.seen_back)
            return disparity.encode(valid)

        images = {"left": left, "right": right}
        maps = {
            "disparity": disparity_of_left,
            "disparity_right": disparity_of_right,
        }
        return Record(name, name, images, {}, split, maps=maps)

    def _flow(self, name: str, views: Callable[[], Views], split: Split | None) -> Record:
        def first() -> bytes:
            return encode_png(views().first)

        def second() -> bytes:
            return encode_png(views().second)

        def flow_of_first() -> bytes:
            both = views()
            seen_HW1 = both.seen[..., None]
            valid = self._valid(both.forth, seen_HW1)
            return flow.encode(valid)

        images = {"first": first, "second": second}
        maps = {"flow": flow_of_first}
        return Record(name, name, images, {}, split, maps=maps)

    def _valid(self, values: Floats, seen: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Return the values, NaN for hidden pixels unless they are to have values too."""
        keep = seen | self._occluded
        masked = np.where(keep, values, np.nan)
        return masked.astype(np.float32)


# Kept, because the images and maps of a record are read one by one.
@lru_cache(maxsize=32)
def scene(pairs: Pairs, size: tuple[int, int], most: float, seed: int, number: int, test: bool) -> Views:
    """Return the two views of a scene; the same arguments give the same views."""
    part = slice(TEST_DIGITS, None) if test else slice(TEST_DIGITS)
    glyphs = digits()[part]
    random = np.random.default_rng([seed, number])
    layers = random_layers(random, pairs, size, glyphs, most)
    return render(layers, size)


@cache
def digits() -> Floats:
    """Return scikit-learn's digits, 1797 x 8 x 8, 0..1."""
    # Imported here, so that listing the formats does not import scikit-learn.
    from sklearn.datasets import load_digits

    images: Floats = load_digits().images / 16
    return images
