"""One class and one box an image: a trunk, two heads, told jointly (as OverFeat has it, Sermanet et al., 2013, arXiv 1312.6229).

The trick: nothing is flattened, so nothing has to be learnt anew for every place. Five maps of attention lie over the last level:
the class is read from what the first one looks at, and each edge of the box is where its own one looks, on the average
(spatial soft-argmax, Levine et al., 2015, arXiv 1504.00702), with a correction from the same features.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from cvflow.config import Image
from cvflow.models.backbones.base import Backbone
from cvflow.models.classifier import Statistics, pixel_stats
from cvflow.models.normalize import Normalize
from cvflow.registry import Component, Kind, build, register
from cvflow.types import DatasetInfo

REACH = 0.25
"""How far the correction goes, in the image's sides."""


@register("model", "localizer")
class Localizer(nn.Module):
    """uint8 images BCHW -> ``logits`` B x classes, ``boxes`` B x 4: xyxy, 0..1 of the image's width and height.

    dropout: before both heads.
    """

    answer = "box"

    def __init__(
        self,
        image: Image,
        info: DatasetInfo,
        *,
        backbone: Annotated[Component, Kind("backbone")] = Component(name="cifar_resnet"),  # noqa: B008, it is frozen
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
        normalize: Statistics = "auto",
    ) -> None:
        super().__init__()
        self.backbone: Backbone = build("backbone", backbone, image.channels, image.size)
        self.backbone.maps_only()
        self.normalize = Normalize(*pixel_stats(normalize, self.backbone, info), image.channels)
        channels = self.backbone.channels[-1]
        self.attention = nn.Conv2d(channels, 5, 1)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(channels, len(info.classes))
        self.box_head = nn.Linear(channels, 4)

    def forward(self, images_BCHW: Tensor) -> dict[str, Tensor]:
        last_BCHW = self.backbone(self.normalize(images_BCHW))[-1]
        attention = self.attention(last_BCHW)
        where_B5HW = attention.flatten(2).softmax(2).view_as(attention)
        seen_BC = self.dropout((where_B5HW[:, :1] * last_BCHW).sum((2, 3)))
        edges_B4 = places(where_B5HW[:, 1:]) + REACH * self.box_head(seen_BC).tanh()
        one, other = edges_B4.chunk(2, 1)
        return {"logits": self.head(seen_BC), "boxes": torch.cat([one.minimum(other), one.maximum(other)], 1)}


def places(where_B4HW: Tensor) -> Tensor:
    """The mean column of the first and third map, the mean row of the others: B x 4, from 0 at one border to 1 at the other."""
    across, down = (
        torch.linspace(0, 1, length, device=where_B4HW.device)
        for length in (where_B4HW.shape[3], where_B4HW.shape[2])
    )
    columns_B4, rows_B4 = where_B4HW.sum(2) @ across, where_B4HW.sum(3) @ down
    return torch.stack([columns_B4[:, 0], rows_B4[:, 1], columns_B4[:, 2], rows_B4[:, 3]], 1)
