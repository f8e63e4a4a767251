"""One change to every image of a sample, and, where it moves pixels, to the annotations that lie in them.

Photometric changes go through ``on_images`` or ``drawn_alike``, geometric ones through ``moved``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

import torch
from pydantic import AfterValidator, Field
from torch import Tensor

from cvflow.errors import Fault, RequestError
from cvflow.loading.transforms.geometry import Move
from cvflow.loading.transforms.lazy_torchvision import tv_tensors
from cvflow.ops.place import Size
from cvflow.types import Sample

Probability = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]


def ordered(pair: tuple[float, float]) -> tuple[float, float]:
    """Return an option that is a range. ValueError if it is upside down."""
    if pair[0] > pair[1]:
        raise ValueError("the least first, then the most")
    return pair


Range = Annotated[tuple[Positive, Positive], AfterValidator(ordered)]


def on_images(sample: Sample, change: Callable[[Tensor], Tensor]) -> Sample:
    """Change the images alone. change: uint8 CHW -> uint8 CHW."""
    return sample.but(images=_changed(sample, change))


def drawn_alike(sample: Sample, change: Callable[[Tensor], Tensor]) -> Sample:
    """``on_images`` for a change that draws for itself: it draws the same for every image."""
    state = torch.default_generator.get_state()

    def again(image: Tensor) -> Tensor:
        torch.default_generator.set_state(state)
        return change(image)

    return on_images(sample, again)


def moved(sample: Sample, move: Move) -> Sample:
    """Move every image and the annotations in it; ``sample.placed`` says where the original is afterwards."""
    images = _changed(sample, move.pixels)
    target = followed(sample.target, move.pixels)
    placed = move.place if sample.placed is None else sample.placed.then(move.place)
    return sample.but(images=images, target=target, placed=placed)


def image_size(sample: Sample) -> Size:
    """Return height and width of the sample's images."""
    first = next(iter(sample.images.values()))
    return first.shape[1], first.shape[2]


def _changed(sample: Sample, change: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    return {name: change(image) for name, image in sample.images.items()}


def followed(target: Mapping[str, Any], change: Callable[[Tensor], Tensor]) -> dict[str, Any]:
    """Return a target whose annotations in the pixels are changed."""
    changed = {}
    for name, value in target.items():
        is_in_pixels = isinstance(value, tv_tensors.TVTensor)
        changed[name] = change(value) if is_in_pixels else value
    return changed


def mirrored(sample: Sample, move: Move) -> Sample:
    """``moved`` by a move that exchanges left and right; names that change places with them do so.

    RequestError if a name is in the sample and its counterpart is not.
    """
    after = moved(sample, move)
    if not sample.swaps:
        return after
    present = {*sample.images, *sample.target}
    for name, counterpart in sample.swaps.items():
        if name in present and counterpart not in present:
            raise no_counterpart(sample.id, name, counterpart)
    return after.but(images=_renamed(after.images, sample.swaps), target=_renamed(after.target, sample.swaps))


def _renamed(values: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {names.get(name, name): value for name, value in values.items()}


def no_counterpart(id: str, name: str, counterpart: str) -> RequestError:
    """Return the error of a mirrored sample that lacks what ``name`` changes places with."""
    got = f"horizontal_flip of '{id}', without '{counterpart}'"
    expected = f"'{counterpart}', which changes places with '{name}'"
    fix = f"Leave horizontal_flip out, or give '{counterpart}'."
    return RequestError(Fault("train.augment", got, expected, fix))


def uniform(least: float, most: float) -> float:
    """Return a number drawn evenly between the two."""
    return least + (most - least) * torch.rand(()).item()
