"""The same change to every image of a sample; annotations that move with the pixels (boxes, masks) will join here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated

import torch
from pydantic import AfterValidator, Field
from torch import Tensor

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
    return replace(sample, images={name: change(image) for name, image in sample.images.items()})


def drawn_alike(sample: Sample, change: Callable[[Tensor], Tensor]) -> Sample:
    """``on_images`` for a change that draws for itself: it draws the same for every image."""
    state = torch.default_generator.get_state()

    def again(image: Tensor) -> Tensor:
        torch.default_generator.set_state(state)
        return change(image)

    return on_images(sample, again)


def uniform(least: float, most: float) -> float:
    return least + (most - least) * torch.rand(()).item()
