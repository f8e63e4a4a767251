"""Test-time views: several looks at one image, whose raw results the task merges (Krizhevsky 2012,
NIPS: ten crops).

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

from cvflow.config import Image, Recipe
from cvflow.effects import SWAPS_SIDES, states
from cvflow.loading.loader import Rows
from cvflow.loading.transforms import geometry
from cvflow.loading.transforms.apply import followed
from cvflow.loading.transforms.colour_pca import IMAGENET_VALUES, IMAGENET_VECTORS
from cvflow.ops.place import Place, Size, mirrored, resized, window
from cvflow.registry import Component, build, register
from cvflow.tasks.base import Task, Transform
from cvflow.types import Batch, Raw, Row, Sample, Schema

UNIT: Size = (1, 1)
"""The whole image as the model sees it, as a square of side 1."""


@dataclass(frozen=True)
class View:
    """One look at an image. Beyond the image lies black.

    place: how the whole image lies in the view, both as unit squares; enlarged, shrunk, shifted or mirrored.
    pixels: changes of pixels that move nothing, each uint8 CHW -> uint8 CHW.
    """

    place: Place = Place(UNIT)
    pixels: tuple[Callable[[Tensor], Tensor], ...] = ()

    def then(self, other: View) -> View:
        """Return the other view of what this one shows."""
        return View(self.place.then(other.place), (*self.pixels, *other.pixels))

    def whole(self, size: Size) -> Size:
        """Return the size of the whole image if the view has ``size``."""
        scale_y, scale_x = self.place.scale
        return round(size[0] * abs(scale_y)), round(size[1] * abs(scale_x))

    def __call__(self, image: Tensor, size: Size) -> Tensor:
        """Return what the view shows, of ``size``, of the whole image. uint8 CHW."""
        top, left = self._corner((image.shape[1], image.shape[2]), size)
        view_pixels = window(image, top, left, size)
        for change in self.pixels:
            view_pixels = change(view_pixels)
        return view_pixels.flip(-1) if self.is_mirrored else view_pixels

    def follow(self, annotation: Tensor, size: Size) -> Tensor:
        """Return what the view shows of an annotation, a TVTensor that lies in the whole image."""
        top, left = self._corner(geometry.size_of(annotation), size)
        view_pixels = geometry.window(annotation, top, left, size)
        return geometry.mirror(view_pixels) if self.is_mirrored else view_pixels

    @property
    def is_mirrored(self) -> bool:
        """Whether left and right are exchanged."""
        return self.place.scale[1] < 0

    def _corner(self, whole: Size, size: Size) -> Size:
        """Return top and left of the part that is shown, of ``size``, in pixels of the whole."""
        corners_22 = torch.tensor([[0.0, 0.0], [1.0, 1.0]], dtype=torch.float64)
        left, top = self.place.back(UNIT).points(corners_22).amin(0).tolist()
        return _start(top, whole[0], size[0]), _start(left, whole[1], size[1])

    def undo(self, map_BCHW: Tensor) -> Tensor:
        """Return a map of what the view shows where it belongs in the whole image; NaN where the
        view did not look.
        """
        return self.place.in_pixels((map_BCHW.shape[2], map_BCHW.shape[3])).put(map_BCHW)


PLAIN = View()


def _start(edge: float, length: int, part: int) -> int:
    """Return where ``part`` pixels begin in ``length``, at a fraction of it; inside, if they fit."""
    start = round(edge * length)
    return min(max(start, 0), length - part) if part <= length else start


def _part(top: float, left: float, side: float) -> View:
    """Return the view of a part of the image, in fractions of it."""
    return View(Place(UNIT, ((1 / side, 0.0, -left / side), (0.0, 1 / side, -top / side))))


@states(SWAPS_SIDES)
@register("view", "horizontal_flip")
def horizontal_flip(image: Image) -> list[View]:
    """The image, and the image mirrored left and right."""
    return [PLAIN, View(mirrored(UNIT))]


@register("view", "five_crops")
def five_crops(image: Image, *, scale: Annotated[float, Field(gt=1, le=2)] = 256 / 224) -> list[View]:
    """The centre and the four corners of the image enlarged. scale: by how much, per side."""
    side = 1 / scale
    rest = 1 - side
    corners = [(rest / 2, rest / 2), (0.0, 0.0), (0.0, rest), (rest, 0.0), (rest, rest)]
    return [_part(top, left, side) for top, left in corners]


Factors = Annotated[tuple[Annotated[float, Field(ge=0.5, le=2)], ...], Field(min_length=1)]


@register("view", "scales")
def scales(image: Image, *, factors: Factors = (1.0, 1.15)) -> list[View]:
    """The image enlarged about its centre by each factor; below 1 it is shrunk within black borders."""
    views = []
    for factor in factors:
        margin = (1 - 1 / factor) / 2
        views.append(_part(margin, margin, 1 / factor) if factor != 1 else PLAIN)
    return views


@register("view", "colour_pca")
def colour_pca(
    image: Image,
    *,
    strength: Annotated[float, Field(gt=0, le=1)] = 0.1,
    components: Annotated[int, Field(ge=1, le=3)] = 1,
) -> list[View]:
    """The image, and for each of the first principal components of ImageNet's colours it with more
    and with less of that light.

    strength: the shift along a component, in its eigenvalues; Krizhevsky trained with draws of 0.1.
    Grey images get lighter and darker.
    """
    views = [PLAIN]
    for component in range(components):
        for sign in (1, -1):
            length = 255 * sign * strength * IMAGENET_VALUES[component]
            shift = tuple(length * row[component] for row in IMAGENET_VECTORS)
            views.append(View(pixels=(Lit(shift),)))
    return views


@dataclass(frozen=True)
class Lit:
    """A change of pixels. rgb: added to the channels, in 0..255; its mean to a grey image."""

    rgb: tuple[float, ...]

    def __call__(self, image: Tensor) -> Tensor:
        shift_C = torch.tensor(self.rgb)
        if image.shape[0] != 3:
            shift_C = shift_C.mean()
        lit = image + shift_C.view(-1, 1, 1)
        return lit.round_().clamp_(0, 255).to(torch.uint8)


def make_views(components: Sequence[Component], image: Image) -> tuple[View, ...]:
    """Return every combination of the components' views; without components the plain look alone."""
    choices: list[list[View]] = [build("view", component, image) for component in components]
    return tuple(reduce(View.then, combination, PLAIN) for combination in product(*choices))


class Looking:
    """A task for the loader: each sample comes once for each view, of the model's size."""

    def __init__(self, task: Task, recipe: Recipe, views: Sequence[View]) -> None:
        self.task = task
        self.views = tuple(views)
        self.size = recipe.image.size
        self._wholes = [view.whole(self.size) for view in views]
        self._fits: dict[Size, Transform] = {}
        for size in self._wholes:
            if size not in self._fits:
                self._fits[size] = task.transforms(_at_size(recipe, size), "test")

    @property
    def schema(self) -> Schema:
        """The columns of the task's rows."""
        return self.task.schema

    def count(self, rows: Rows) -> Sequence[int] | None:
        """Return how many samples each row has, views not counted; None: one each."""
        return self.task.count(rows)

    def samples(self, row: Row) -> Iterator[Sample]:
        """Yield each sample of the row once for each view."""
        for sample in self.task.samples(row):
            fitted = {size: fit(sample) for size, fit in self._fits.items()}
            for view, size in zip(self.views, self._wholes, strict=True):
                yield fitted[size] if view == PLAIN else self._shown(view, fitted[size], size)

    def _shown(self, view: View, whole: Sample, size: Size) -> Sample:
        """Return a view of a sample of ``size``.

        ``placed`` says where the original lies in the whole image at the model's size, where
        ``undo`` puts the view's maps.
        """
        images = {name: view(image, self.size) for name, image in whole.images.items()}
        target = followed(whole.target, lambda annotation: view.follow(annotation, self.size))
        placed = whole.placed and whole.placed.then(resized(size, self.size))
        return whole.but(images=images, target=target, placed=placed)

    def collate(self, samples: Sequence[Sample]) -> Batch:
        """Return samples as a batch."""
        return self.task.collate(samples)

    def apart(self, batch: Batch) -> list[Batch]:
        """Return a batch of such samples as one for each view."""
        count = len(self.views)
        if count == 1:
            return [batch]
        return [batch.part(slice(first, None, count)) for first in range(count)]

    def merged(self, model: nn.Module, raw: Raw, others: Sequence[Batch]) -> Raw:
        """Return the raw result of the first view merged with those of the others, for which the
        model is run.
        """
        if self.views == (PLAIN,):
            return raw
        raws = [raw]
        for batch in others:
            raws.append(self.task.raw(self.task.outputs(model, batch), batch))
        return self.task.merge(raws, self.views)


def as_it_is(sample: Sample) -> Sample:
    """Return the sample: the transform of samples that are looked at already."""
    return sample


def _at_size(recipe: Recipe, size: Size) -> Recipe:
    return recipe.model_copy(update={"image": recipe.image.model_copy(update={"size": size})})
