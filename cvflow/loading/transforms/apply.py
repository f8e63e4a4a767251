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
from cvflow.loading.transforms.lazy_torchvision import tv_tensors
from cvflow.types import Sample

Probability = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]


def ordered(pair: tuple[float, float]) -> tuple[float, float]:
    """Checks an option that is a range."""
    if pair[0] > pair[1]:
        raise ValueError("the least first, then the most")
    return pair


Range = Annotated[tuple[Positive, Positive], AfterValidator(ordered)]


def on_images(sample: Sample, change: Callable[[Tensor], Tensor]) -> Sample:
    """change: uint8 CHW -> uint8 CHW."""
    return sample.but(images=_changed(sample, change))


def drawn_alike(sample: Sample, change: Callable[[Tensor], Tensor]) -> Sample:
    """``on_images`` for a change that draws for itself: it draws the same for every image."""
    state = torch.default_generator.get_state()

    def again(image: Tensor) -> Tensor:
        torch.default_generator.set_state(state)
        return change(image)

    return on_images(sample, again)


def moved(sample: Sample, change: Callable[[Tensor], Tensor]) -> Sample:
    """change: of an image (uint8 CHW, a plain tensor) or of an annotation (a TVTensor of any kind), as ``geometry`` has them."""
    return sample.but(images=_changed(sample, change), target=followed(sample.target, change))


def _changed(sample: Sample, change: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    return {name: change(image) for name, image in sample.images.items()}


def followed(target: Mapping[str, Any], change: Callable[[Tensor], Tensor]) -> dict[str, Any]:
    """A target whose annotations in the pixels are changed."""
    return {
        name: change(value) if isinstance(value, tv_tensors.TVTensor) else value
        for name, value in target.items()
    }


def mirrored(sample: Sample, change: Callable[[Tensor], Tensor]) -> Sample:
    """``moved`` by a change that exchanges left and right; names that change places with them do so.

    Raises RequestError where a name is there and its counterpart is not.
    """
    after = moved(sample, change)
    if not sample.swaps:
        return after
    there = {*sample.images, *sample.target}
    for name, other in sample.swaps.items():
        if name in there and other not in there:
            got, fix = (
                f"horizontal_flip of '{sample.id}', without '{other}'",
                f"Leave horizontal_flip out, or give '{other}'.",
            )
            raise RequestError(
                Fault("train.augment", got, f"'{other}', which changes places with '{name}'", fix)
            )
    images, target = (
        {sample.swaps.get(name, name): value for name, value in named.items()}
        for named in (after.images, after.target)
    )
    return after.but(images=images, target=target)


def uniform(least: float, most: float) -> float:
    return least + (most - least) * torch.rand(()).item()
