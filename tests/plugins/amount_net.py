"""A model as a plug-in: any backbone and one number on top."""

from __future__ import annotations

from typing import Annotated

from torch import Tensor, nn

from cvflow.config import Image
from cvflow.models.backbones.base import Backbone
from cvflow.models.normalize import Normalize
from cvflow.registry import Component, Kind, build, register
from cvflow.types import DatasetInfo


@register("model", "amount_net")
class AmountNet(nn.Module):
    """backbone: the network below."""

    answer = "amount"

    def __init__(
        self,
        image: Image,
        info: DatasetInfo,
        *,
        backbone: Annotated[Component, Kind("backbone")] = Component(name="lenet"),  # noqa: B008, it is frozen
    ) -> None:
        super().__init__()
        self.backbone: Backbone = build("backbone", backbone, image.channels, image.size)
        self.normalize = Normalize(info.mean, info.std, image.channels)
        self.head = nn.Linear(self.backbone.num_features, 1)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """uint8 images, 0..255 -> B."""
        amount_B1: Tensor = self.head(self.backbone.embed(self.normalize(images_BCHW)))
        return amount_B1[:, 0]
