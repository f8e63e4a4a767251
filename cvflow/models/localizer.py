"""One class and one box an image: a trunk and two heads, trained jointly.

OverFeat has it so (Sermanet et al., 2013, arXiv 1312.6229).

The trick: nothing is flattened, so nothing has to be learnt anew for every position. Five maps of
attention lie over the last level: the class is read from what the first one looks at, and each edge of
the box is where one of the others looks, on the average (spatial soft-argmax, Levine et al., 2015,
arXiv 1504.00702), with a correction from the same features.
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

RESNET = Component(name="cifar_resnet")


@register("model", "localizer")
class Localizer(nn.Module):
    """uint8 images BCHW -> ``logits`` B x classes, ``boxes`` B x 4: xyxy, 0..1 of the image's
    width and height.

    dropout: before both heads.
    """

    answer = "box"

    def __init__(
        self,
        image: Image,
        info: DatasetInfo,
        *,
        backbone: Annotated[Component, Kind("backbone")] = RESNET,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
        normalize: Statistics = "auto",
    ) -> None:
        super().__init__()
        self.backbone: Backbone = build("backbone", backbone, image.channels, image.size)
        self.backbone.maps_only()
        mean, std = pixel_stats(normalize, self.backbone, info)
        self.normalize = Normalize(mean, std, image.channels)
        channels = self.backbone.channels[-1]
        self.attention = nn.Conv2d(channels, 5, 1)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(channels, len(info.classes))
        self.box_head = nn.Linear(channels, 4)

    def forward(self, images_BCHW: Tensor) -> dict[str, Tensor]:
        levels = self.backbone(self.normalize(images_BCHW))
        last_BCHW = levels[-1]
        scores_B5HW = self.attention(last_BCHW)
        attention_B5HW = scores_B5HW.flatten(2).softmax(2).view_as(scores_B5HW)
        attended = attention_B5HW[:, :1] * last_BCHW
        features_BC = self.dropout(attended.sum((2, 3)))

        correction_B4 = REACH * self.box_head(features_BC).tanh()
        edges_B4 = places(attention_B5HW[:, 1:]) + correction_B4
        # Nothing keeps the left edge left of the right one but this.
        first, second = edges_B4.chunk(2, 1)
        boxes_B4 = torch.cat([first.minimum(second), first.maximum(second)], 1)
        return {"logits": self.head(features_BC), "boxes": boxes_B4}


def places(attention_B4HW: Tensor) -> Tensor:
    """Return the mean column of the first and third map, the mean row of the others.

    B x 4, from 0 at one border to 1 at the other.
    """
    height, width = attention_B4HW.shape[2:]
    across = torch.linspace(0, 1, width, device=attention_B4HW.device)
    down = torch.linspace(0, 1, height, device=attention_B4HW.device)
    columns_B4 = attention_B4HW.sum(2) @ across
    rows_B4 = attention_B4HW.sum(3) @ down
    edges = [columns_B4[:, 0], rows_B4[:, 1], columns_B4[:, 2], rows_B4[:, 3]]
    return torch.stack(edges, 1)
