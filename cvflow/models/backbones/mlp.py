"""The multilayer perceptron on raw pixels: the baseline that fails.

Rumelhart, Hinton and Williams, 1986, Nature 323. No weight is shared, so the first layer grows
with the image: 24.6 M weights for 500 hidden units on 128x128 RGB.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from cvflow.models.backbones.base import Backbone
from cvflow.registry import register


@register("backbone", "mlp")
class MLP(Backbone):
    """Linear layers with ReLU; its one map is 1x1, the last hidden layer.

    hidden: the width of each hidden layer.
    """

    def __init__(
        self,
        in_channels: int,
        image_size: tuple[int, int],
        *,
        hidden: Annotated[tuple[Annotated[int, Field(gt=0)], ...], Field(min_length=1)] = (500,),
    ) -> None:
        super().__init__()
        height, width = image_size
        self.channels = (hidden[-1],)
        self.strides = (max(image_size),)
        self.num_features = hidden[-1]
        layers: list[nn.Module] = []
        for inner, outer in pairwise((in_channels * height * width, *hidden)):
            layers += [nn.Linear(inner, outer), nn.ReLU()]
        self.layers = nn.Sequential(*layers)

    def forward(self, x_BCHW: Tensor) -> list[Tensor]:
        features: Tensor = self.layers(x_BCHW.flatten(1))
        return [features[:, :, None, None]]
