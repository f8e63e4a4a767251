"""The multilayer perceptron on raw pixels (Rumelhart, Hinton and Williams, 1986, Nature 323): the baseline that fails.

No weight is shared, so the first layer grows with the image: 24.6 M weights for 500 hidden units on 128x128 RGB.
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
        widths = (in_channels * height * width, *hidden)
        self.channels, self.strides, self.num_features = (hidden[-1],), (max(image_size),), hidden[-1]
        self.layers = nn.Sequential(
            *(layer for a, b in pairwise(widths) for layer in (nn.Linear(a, b), nn.ReLU()))
        )

    def forward(self, x_BCHW: Tensor) -> list[Tensor]:
        features: Tensor = self.layers(x_BCHW.flatten(1))
        return [features[:, :, None, None]]
