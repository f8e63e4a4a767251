"""An image classifier: any backbone, its feature vector, dropout, one linear layer."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag
from torch import Tensor, nn

from cvflow.config import Image
from cvflow.models.backbones.base import Backbone
from cvflow.models.normalize import IMAGENET, Normalize
from cvflow.registry import Component, Kind, build, register
from cvflow.types import DatasetInfo

PerChannel = Annotated[tuple[float, ...], Field(min_length=1, max_length=3)]


class PixelStats(BaseModel):
    """Statistics by hand, per channel (RGB) or one for all, of pixels in 0..1."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    mean: PerChannel
    std: PerChannel


# The tags begin with "union-", which the faults of a recipe leave out of the field's path.
Statistics = Annotated[
    Annotated[Literal["auto", "dataset", "imagenet"], Tag("union-named")]
    | Annotated[PixelStats, Tag("union-given")],
    Discriminator(lambda value: "union-given" if isinstance(value, (dict, PixelStats)) else "union-named"),
]


LENET = Component(name="lenet")


@register("model", "classifier")
class Classifier(nn.Module):
    """backbone: the network below. dropout: before the linear layer.

    normalize: which pixel statistics. auto: those of the published weights, if the backbone fetched
    some, else the dataset's.
    """

    answer = "class"

    def __init__(
        self,
        image: Image,
        info: DatasetInfo,
        *,
        backbone: Annotated[Component, Kind("backbone")] = LENET,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
        normalize: Statistics = "auto",
    ) -> None:
        super().__init__()
        self.backbone: Backbone = build("backbone", backbone, image.channels, image.size)
        mean, std = pixel_stats(normalize, self.backbone, info)
        self.normalize = Normalize(mean, std, image.channels)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(self.backbone.num_features, len(info.classes))

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Return logits, B x classes, for uint8 images, 0..255."""
        features_BF = self.embed(images_BCHW)
        logits: Tensor = self.head(self.dropout(features_BF))
        return logits

    def embed(self, images_BCHW: Tensor) -> Tensor:
        """Return features, B x F, for uint8 images, 0..255."""
        return self.backbone.embed(self.normalize(images_BCHW))


def pixel_stats(
    normalize: str | PixelStats, backbone: Backbone, info: DatasetInfo
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return (mean, std) by the recipe's choice."""
    if isinstance(normalize, PixelStats):
        return normalize.mean, normalize.std
    if normalize == "imagenet":
        return IMAGENET
    if normalize == "auto" and backbone.pixel_stats is not None:
        return backbone.pixel_stats
    return info.mean, info.std
