"""Flow by correlation, from coarse to fine.

Sun et al. 2018, PWC-Net, arXiv 1709.02371; correlation: FlowNetC 2015, arXiv 1504.06852.

The trick: at each level of a feature pyramid the second image's features are first warped by the flow so
far; what is left to find is small, so that correlating a few shifts is enough. A dilated network at the
end sees a wide context.

Shapes: B batch, C channels, H W pixels; h w pixels of a level.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from cvflow.config import Image
from cvflow.models.layers import conv_bn_relu
from cvflow.models.siamese import Pyramid, TwoImages, enlarged
from cvflow.ops.cost_volume import flow_volume
from cvflow.ops.warp import warp
from cvflow.registry import register
from cvflow.types import DatasetInfo

Width = Annotated[int, Field(ge=4)]


@register("model", "correlation_flow")
class CorrelationFlow(TwoImages):
    """channels: of each level's features, fine to coarse, from stride 2 on.

    radius: of the shifts that are correlated, pixels of a level. finest: the stride of the level at
    which it ends, 2 or 4 say; its flow is enlarged to the image.
    """

    answer = "flow"

    def __init__(
        self,
        image: Image,
        info: DatasetInfo,
        *,
        channels: Annotated[tuple[Width, ...], Field(min_length=2, max_length=6)] = (16, 24, 32),
        radius: Annotated[int, Field(ge=1, le=8)] = 3,
        finest: Annotated[int, Field(ge=2, le=16)] = 2,
        width: Width = 32,
    ) -> None:
        super().__init__(image.channels, info)
        self.stride = 2 ** len(channels)
        self.radius = radius
        self.features = Pyramid(image.channels, channels)
        self.used = used_levels(len(channels), finest)
        self.last_stride = level_stride(self.used[-1])
        shifts = (2 * radius + 1) ** 2
        self.estimators = nn.ModuleList()
        for level in self.used:
            inner = shifts + channels[level] + 2
            self.estimators.append(estimator(inner, width))
        self.context = nn.Sequential(
            conv_bn_relu(inner, width, dilation=1),
            conv_bn_relu(width, width, dilation=2),
            conv_bn_relu(width, width, dilation=4),
        )
        self.change = nn.Conv2d(width, 2, 3, padding=1)

    def matched(self, first_BCHW: Tensor, second_BCHW: Tensor) -> list[Tensor]:
        """Return B2HW flows, a level each, and the last one refined.

        They are float32 in mixed precision too, where positions would be rounded.
        """
        levels = self.features(torch.cat([first_BCHW, second_BCHW]))
        batch = first_BCHW.shape[0]
        answers: list[Tensor] = []
        flow = still(levels[self.used[0]][:batch])
        for level, estimate in zip(self.used, self.estimators, strict=True):
            # Not chunk(2), whose sizes an export takes for fixed.
            first, second = levels[level].split([batch, batch])
            if answers:
                flow = enlarged(flow.detach(), 2)
            correlation = flow_volume(first, warp(second, flow), self.radius)
            likeness = F.leaky_relu(correlation, 0.1)
            evidence = torch.cat([likeness, first, flow], 1)
            flow = flow + estimate(evidence).float()
            answers.append(enlarged(flow, level_stride(level)))
        refined = flow + self.change(self.context(evidence))
        return [*answers, enlarged(refined, self.last_stride)]


def still(features_BChw: Tensor) -> Tensor:
    """Return a flow of 0 at the size of the features: B2hw, float32."""
    batch, _, height, width = features_BChw.shape
    return features_BChw.new_zeros(batch, 2, height, width, dtype=torch.float32)


def level_stride(level: int) -> int:
    """Return the stride of a level of the pyramid."""
    return 1 << (level + 1)


def used_levels(count: int, finest: int) -> list[int]:
    """Return the levels down to the stride ``finest``, coarse to fine; at least the coarsest one."""
    levels = [count - 1]
    while levels[-1] > 0 and level_stride(levels[-1] - 1) >= finest:
        levels.append(levels[-1] - 1)
    return levels


def estimator(inner: int, width: int) -> nn.Sequential:
    """Return a network for what is still to be added to the flow at a level."""
    return nn.Sequential(
        conv_bn_relu(inner, 2 * width),
        conv_bn_relu(2 * width, width),
        conv_bn_relu(width, width),
        nn.Conv2d(width, 2, 3, padding=1),
    )
