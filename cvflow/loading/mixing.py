"""Images of a training batch mixed with those of their partners, and by how much their targets are.

Targets stay whole: a loss is of both, by their shares. Tasks whose annotations lie in the pixels refuse it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from cvflow.registry import register
from cvflow.types import Batch, Mixed

Mix = Callable[[Batch, Batch, np.random.Generator], Batch]
"""(samples, the partner of each, what draws) -> the samples mixed; what is drawn holds for the
whole batch.
"""

Positive = Annotated[float, Field(gt=0)]
Probability = Annotated[float, Field(ge=0, le=1)]


@register("mix", "mixup")
class Mixup:
    """Weighted means of two images (Zhang et al. 2017, arXiv 1710.09412).

    alpha: the share is drawn from Beta(alpha, alpha); small = near 0 or 1. p: of a batch to be
    mixed. Not for tasks with boxes or maps.
    """

    def __init__(self, *, alpha: Positive = 0.2, p: Probability = 1.0) -> None:
        self.alpha, self.p = alpha, p

    def __call__(self, own: Batch, partners: Batch, draw: np.random.Generator) -> Batch:
        if draw.random() >= self.p:
            return own
        share = draw.beta(self.alpha, self.alpha)
        images = {name: blended(image, partners.images[name], share) for name, image in own.images.items()}
        return mixed(own, images, partners, share)


@register("mix", "cutmix")
class CutMix:
    """A box of each image is its partner's (Yun et al. 2019, arXiv 1905.04899).

    alpha: the share that stays is drawn from Beta(alpha, alpha). p: of a batch to be mixed. Not for
    tasks with boxes or maps.
    """

    def __init__(self, *, alpha: Positive = 1.0, p: Probability = 1.0) -> None:
        self.alpha, self.p = alpha, p

    def __call__(self, own: Batch, partners: Batch, draw: np.random.Generator) -> Batch:
        if draw.random() >= self.p:
            return own
        side = (1 - draw.beta(self.alpha, self.alpha)) ** 0.5
        centre = draw.random(), draw.random()
        images = {
            name: patched(image, partners.images[name], centre, side) for name, image in own.images.items()
        }
        height, width = next(iter(own.images.values())).shape[-2:]
        rows, columns = span(height, centre[0], side), span(width, centre[1], side)
        return mixed(own, images, partners, 1 - len(rows) * len(columns) / (height * width))


def blended(one: Tensor, other: Tensor, share: float) -> Tensor:
    """uint8 BCHW, ``share`` of the first, rounded."""
    return torch.lerp(other.float(), one.float(), share).round_().to(torch.uint8)


def patched(one: Tensor, other: Tensor, centre: tuple[float, float], side: float) -> Tensor:
    """BCHW, a box of the other put into the first. centre: (y, x), side: as fractions of height and width."""
    rows, columns = span(one.shape[-2], centre[0], side), span(one.shape[-1], centre[1], side)
    result = one.clone()
    box = ..., slice(rows.start, rows.stop), slice(columns.start, columns.stop)
    result[box] = other[box]
    return result


def span(length: int, centre: float, side: float) -> range:
    """The pixels of one side of a box, cut off at the border."""
    half = round(length * side) / 2
    return range(max(0, round(length * centre - half)), min(length, round(length * centre + half)))


def mixed(own: Batch, images: Mapping[str, Tensor], partners: Batch, share: float) -> Batch:
    return replace(
        own, images=dict(images), mixed=Mixed(partners.targets, torch.tensor(share, dtype=torch.float32))
    )
