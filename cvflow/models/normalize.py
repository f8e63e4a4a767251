"""Pixels to network input: scaled to 0..1 and standardised by statistics that are saved with the model."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cvflow.errors import Fault, RequestError

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""(mean, std) of ImageNet's RGB pixels in 0..1."""

LEAST_STD = 1 / 255
"""A channel that varies by less than a grey level is nearly constant: it is not blown up."""


class Normalize(nn.Module):
    """uint8 or float images BCHW, 0..255 -> float BCHW of about zero mean and unit deviation.

    mean, std: per channel, of pixels in 0..1. Three of them are averaged for grey images, one
    is used for every channel.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...], channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", fit(mean, channels))
        self.register_buffer("std", fit(std, channels).clamp(min=LEAST_STD))

    def forward(self, images_BCHW: Tensor) -> Tensor:
        scaled = images_BCHW.to(self.mean.dtype) / 255
        centred = scaled - self.mean
        return centred / self.std


def fit(values: tuple[float, ...], channels: int) -> Tensor:
    """Return the statistics as C11, for this number of channels."""
    stats = torch.tensor(values, dtype=torch.float32)
    if channels == 1:
        stats = stats.mean(0, keepdim=True)
    elif len(values) == 1:
        stats = stats.repeat(channels)
    if len(stats) != channels:
        raise RequestError(
            Fault(
                "model.normalize", f"{len(values)} values of mean or std", f"1 or {channels}, one a channel"
            )
        )
    return stats.view(-1, 1, 1)
