"""An embedding network: any backbone, then linear layers to a vector of length 1.

Distances of the vectors stand for identity.

The trick: what is learned is a distance, not a list of classes, so that identities never seen
in training can be told apart (Schroff, Kalenichenko & Philbin 2015, FaceNet, arXiv 1503.03832).
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from cvflow.config import Image
from cvflow.models.backbones.base import Backbone
from cvflow.models.classifier import Statistics, pixel_stats
from cvflow.models.normalize import Normalize
from cvflow.registry import Component, Kind, build, register
from cvflow.types import DatasetInfo

LENET = Component(name="lenet")


@register("model", "embedder")
class Embedder(nn.Module):
    """backbone: the network below. dim: numbers in an embedding.

    hidden: units of a layer with ReLU before the last; 0 = none. normalize: which pixel
    statistics. auto: those of the published weights, if the backbone fetched some, else the
    dataset's.
    """

    answer = "embedding"

    def __init__(
        self,
        image: Image,
        info: DatasetInfo,
        *,
        backbone: Annotated[Component, Kind("backbone")] = LENET,
        dim: Annotated[int, Field(ge=2)] = 64,
        hidden: Annotated[int, Field(ge=0)] = 0,
        normalize: Statistics = "auto",
    ) -> None:
        super().__init__()
        self.dim = dim
        self.backbone: Backbone = build("backbone", backbone, image.channels, image.size)
        mean, std = pixel_stats(normalize, self.backbone, info)
        self.normalize = Normalize(mean, std, image.channels)
        features = self.backbone.num_features
        layers: list[nn.Module] = []
        if hidden:
            layers += [nn.Linear(features, hidden), nn.ReLU()]
            features = hidden
        layers.append(nn.Linear(features, dim))
        self.head = nn.Sequential(*layers)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Return unit vectors, B x dim, for uint8 images, 0..255."""
        features_BF = self.backbone.embed(self.normalize(images_BCHW))
        vectors_BD = self.head(features_BF)
        # float32 in mixed precision too, where a length of 1 would be rounded.
        return F.normalize(vectors_BD.float(), dim=1)
