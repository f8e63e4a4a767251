"""LeNet: two rounds of convolution and pooling, then fully connected layers.

LeCun et al., 1998, Proc. IEEE 86(11).

The trick: shared weights and sub-sampling make the answer insensitive to small shifts and need
few parameters. Both convolutions are padded here, so that every map lies on its stride; any
image size works.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from cvflow.models.backbones.base import Backbone, too_small
from cvflow.registry import register


@register("backbone", "lenet")
class LeNet(Backbone):
    """Levels of 6 and 16 channels at stride 2 and 4; embeds to 84 features through 120.

    activation: tanh (1998) or relu. pool: avg (1998, there with trained gains) or max.
    """

    channels = (6, 16)
    strides = (2, 4)
    num_features = 84
    head_keys = ("fc3",)

    def __init__(
        self,
        in_channels: int,
        image_size: tuple[int, int],
        *,
        activation: Literal["relu", "tanh"] = "relu",
        pool: Literal["max", "avg"] = "max",
    ) -> None:
        super().__init__()
        height, width = image_size
        if min(image_size) < 4:
            raise too_small("lenet", image_size, 4)
        self.conv1 = nn.Conv2d(in_channels, 6, 5, padding=2)
        self.conv2 = nn.Conv2d(6, 16, 5, padding=2)
        self.fc1 = nn.Linear(16 * (height // 4) * (width // 4), 120)
        self.fc2 = nn.Linear(120, 84)
        self.act: nn.Module = nn.ReLU() if activation == "relu" else nn.Tanh()
        self.pool: nn.Module = nn.MaxPool2d(2) if pool == "max" else nn.AvgPool2d(2)

    def forward(self, x_BCHW: Tensor) -> list[Tensor]:
        fine = self.pool(self.act(self.conv1(x_BCHW)))
        coarse = self.pool(self.act(self.conv2(fine)))
        return [fine, coarse]

    def embed(self, x_BCHW: Tensor) -> Tensor:
        levels = self.forward(x_BCHW)
        hidden = self.act(self.fc1(levels[-1].flatten(1)))
        features: Tensor = self.act(self.fc2(hidden))
        return features

    def maps_only(self) -> None:
        del self.fc1, self.fc2
