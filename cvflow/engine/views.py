"""Test-time views: several looks at one image, whose answers the task merges (Krizhevsky 2012, NIPS: ten crops).

A recipe's views multiply: ``[five_crops, horizontal_flip]`` are ten. The first one is the plainest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import product
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from cvflow.config import Image, Recipe
from cvflow.effects import SWAPS_SIDES, states
from cvflow.loading.loader import Rows
from cvflow.loading.transforms.apply import followed
from cvflow.loading.transforms.colour_pca import IMAGENET_VALUES, IMAGENET_VECTORS
from cvflow.loading.transforms.geometry import mirror, size_of, window
from cvflow.registry import Component, build, register
from cvflow.tasks.base import Task
from cvflow.types import Batch, Raw, Row, Sample, Schema

Box = tuple[float, float, float, float]
"""Top, left, bottom, right in fractions of the whole image as the model sees it; below 0 and above 1 lies black."""
Size = tuple[int, int]


@dataclass(frozen=True)
class View:
    """box: the part that is seen. mirrored: left and right. pixels: each uint8 CHW -> uint8 CHW, nothing moved."""

    box: Box = (0.0, 0.0, 1.0, 1.0)
    mirrored: bool = False
    pixels: tuple[Callable[[Tensor], Tensor], ...] = ()

    def then(self, other: View) -> View:
        """The other view of what this one shows."""
        top, left, bottom, right = other.box
        if self.mirrored:
            left, right = 1 - right, 1 - left
        up, down = (self.box[0] + y * (self.box[2] - self.box[0]) for y in (top, bottom))
        near, far = (self.box[1] + x * (self.box[3] - self.box[1]) for x in (left, right))
        return View((up, near, down, far), self.mirrored != other.mirrored, (*self.pixels, *other.pixels))

    def whole(self, size: Size) -> Size:
        """Height and width in pixels of the whole image where the part has ``size``."""
        return round(size[0] / (self.box[2] - self.box[0])), round(size[1] / (self.box[3] - self.box[1]))

    def __call__(self, image: Tensor, size: Size) -> Tensor:
        """The part, of ``size``, out of the whole image. uint8 CHW."""
        top, left = self._corner((image.shape[1], image.shape[2]), size)
        seen = _window(image, top, left, size)
        for change in self.pixels:
            seen = change(seen)
        return seen.flip(-1) if self.mirrored else seen

    def follow(self, annotation: Tensor, size: Size) -> Tensor:
        """What lies in the part of an annotation that lies in the whole image, a TVTensor, where it lies there."""
        top, left = self._corner(size_of(annotation), size)
        seen = window(annotation, top, left, size)
        return mirror(seen) if self.mirrored else seen

    def _corner(self, whole: Size, size: Size) -> Size:
        """Top and left of the part, of ``size``, in pixels of the whole."""
        top, left = (
            _start(self.box[i], have, want) for i, have, want in zip((0, 1), whole, size, strict=True)
        )
        return top, left

    def undo(self, map_BCHW: Tensor) -> Tensor:
        """A map of what the view saw, of the same size, where it belongs in the whole image; NaN where it did not look."""
        size = (map_BCHW.shape[2], map_BCHW.shape[3])
        edges = [round(edge * length) for edge, length in zip(self.box, size * 2, strict=True)]
        seen = map_BCHW.flip(-1) if self.mirrored else map_BCHW
        part = F.interpolate(
            seen, (edges[2] - edges[0], edges[3] - edges[1]), mode="bilinear", align_corners=False
        )
        return _window(part, -edges[0], -edges[1], size, float("nan"))


PLAIN = View()


def _start(edge: float, have: int, want: int) -> int:
    """Where the window of ``want`` pixels begins in ``have``; inside, where it fits."""
    start = round(edge * have)
    return min(max(start, 0), have - want) if want <= have else start


def _window(image: Tensor, top: int, left: int, size: Size, beyond: float = 0) -> Tensor:
    """A window of ``size`` at (top, left), which may reach beyond the image: a negative padding cuts."""
    below, after = top + size[0] - image.shape[-2], left + size[1] - image.shape[-1]
    return F.pad(image, (-left, after, -top, below), value=beyond)


@states(SWAPS_SIDES)
@register("view", "horizontal_flip")
def horizontal_flip(image: Image) -> list[View]:
    """The image, and the image mirrored left and right."""
    return [PLAIN, View(mirrored=True)]


@register("view", "five_crops")
def five_crops(image: Image, *, scale: Annotated[float, Field(gt=1, le=2)] = 256 / 224) -> list[View]:
    """The centre and the four corners of the image enlarged. scale: by how much, per side."""
    seen = 1 / scale
    corners = [(y, x) for y in (0.0, 1 - seen) for x in (0.0, 1 - seen)]
    return [View((y, x, y + seen, x + seen)) for y, x in [((1 - seen) / 2, (1 - seen) / 2), *corners]]


@register("view", "scales")
def scales(
    image: Image, *, factors: Annotated[tuple[Annotated[float, Field(ge=0.5, le=2)], ...], Field(min_length=1)] = (1.0, 1.15)
) -> list[View]:  # fmt: skip
    """The image enlarged about its centre by each factor; below 1 it is shrunk within black borders."""
    margins = [(1 - 1 / factor) / 2 for factor in factors]
    return [View((m, m, 1 - m, 1 - m)) for m in margins]


@register("view", "colour_pca")
def colour_pca(
    image: Image, *, strength: Annotated[float, Field(gt=0, le=1)] = 0.1, components: Annotated[int, Field(ge=1, le=3)] = 1
) -> list[View]:  # fmt: skip
    """The image, and for each of the first principal components of ImageNet's colours it with more and with less of that light.

    strength: the shift along a component, in its eigenvalues; Krizhevsky trained with draws of 0.1. Grey images get lighter and darker.
    """
    shifts = [
        [255 * sign * strength * IMAGENET_VALUES[c] * row[c] for row in IMAGENET_VECTORS]
        for c in range(components)
        for sign in (1, -1)
    ]
    return [PLAIN, *(View(pixels=(Lit(tuple(shift)),)) for shift in shifts)]


@dataclass(frozen=True)
class Lit:
    """rgb: added to the channels, in 0..255; its mean to a grey image."""

    rgb: tuple[float, ...]

    def __call__(self, image: Tensor) -> Tensor:
        shift = torch.tensor(self.rgb)
        return (
            (image + (shift if image.shape[0] == 3 else shift.mean()).view(-1, 1, 1))
            .round_()
            .clamp_(0, 255)
            .to(torch.uint8)
        )


def make_views(components: Sequence[Component], image: Image) -> tuple[View, ...]:
    """Every combination of the components' views; none = the plain look alone."""
    choices: list[list[View]] = [build("view", component, image) for component in components]
    return tuple(reduce(View.then, chosen, PLAIN) for chosen in product(*choices))


class Looking:
    """A task for the loader: each sample comes once for each view, of the model's size."""

    def __init__(self, task: Task, recipe: Recipe, views: Sequence[View]) -> None:
        self.task, self.views, self.size = task, tuple(views), recipe.image.size
        self._wholes = [view.whole(self.size) for view in views]
        self._fits = {
            size: task.transforms(_at_size(recipe, size), "test") for size in dict.fromkeys(self._wholes)
        }

    @property
    def schema(self) -> Schema:
        return self.task.schema

    def count(self, rows: Rows) -> Sequence[int] | None:
        """How many samples each row has, views not counted."""
        return self.task.count(rows)

    def samples(self, row: Row) -> Iterator[Sample]:
        for sample in self.task.samples(row):
            fitted = {size: fit(sample) for size, fit in self._fits.items()}
            for view, size in zip(self.views, self._wholes, strict=True):
                yield fitted[size] if view == PLAIN else self._seen(view, fitted[size], size)

    def _seen(self, view: View, whole: Sample, size: Size) -> Sample:
        """A view of a sample of ``size``; placed is the whole image at the model's size, where ``undo`` puts the view's maps."""
        ratios = self.size[0] / size[0], self.size[1] / size[1]
        images = {name: view(image, self.size) for name, image in whole.images.items()}
        target = followed(whole.target, lambda annotation: view.follow(annotation, self.size))
        return whole.but(images=images, target=target, placed=whole.placed and whole.placed.scaled(*ratios))

    def collate(self, samples: Sequence[Sample]) -> Batch:
        return self.task.collate(samples)

    def apart(self, batch: Batch) -> list[Batch]:
        """A batch of such samples as one for each view."""
        count = len(self.views)
        return [batch] if count == 1 else [batch.part(slice(first, None, count)) for first in range(count)]

    def merged(self, model: nn.Module, raw: Raw, others: Sequence[Batch]) -> Raw:
        """The first view's answer with those to the others."""
        if self.views == (PLAIN,):
            return raw
        raws = [raw]
        for batch in others:
            raws.append(self.task.raw(self.task.outputs(model, batch), batch))
        return self.task.merge(raws, self.views)


def as_it_is(sample: Sample) -> Sample:
    """The transform of samples that are looked at already."""
    return sample


def _at_size(recipe: Recipe, size: Size) -> Recipe:
    return recipe.model_copy(update={"image": recipe.image.model_copy(update={"size": size})})
