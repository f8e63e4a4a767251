"""Flow by correlation, from coarse to fine (Sun et al. 2018, PWC-Net, arXiv 1709.02371; correlation: FlowNetC 2015, arXiv 1504.06852).

The trick: at each level of a feature pyramid the second image's features are first laid where the flow so far says they belong;
what is left to find is small, so that correlating a few shifts is enough. A dilated network at the end sees a wide context.

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
    """channels: of each level's features, fine to coarse, from stride 2 on. radius: of the shifts that are correlated, pixels of a level.

    finest: the stride of the level at which it ends, 2 or 4 say; its flow is enlarged to the image.
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
        self.stride, self.radius = 2 ** len(channels), radius
        self.features = Pyramid(image.channels, channels)
        strides = [2 ** (i + 1) for i in range(len(channels))]
        self.used = [i for i in reversed(range(len(channels))) if strides[i] >= finest] or [len(channels) - 1]
        self.last_stride = strides[self.used[-1]]
        seen = [(2 * radius + 1) ** 2 + channels[i] + 2 for i in self.used]
        self.estimators = nn.ModuleList(estimator(count, width) for count in seen)
        self.context = nn.Sequential(
            *(conv_bn_relu(inner, width, dilation=d) for inner, d in ((seen[-1], 1), (width, 2), (width, 4)))
        )
        self.change = nn.Conv2d(width, 2, 3, padding=1)

    def matched(self, first_BCHW: Tensor, second_BCHW: Tensor) -> list[Tensor]:
        """B2HW flows, a level each, and the last one refined; float32 in mixed precision too, where places would be rounded."""
        halves = [first_BCHW.shape[0]] * 2  # not chunk(2), whose sizes an export takes for fixed
        pairs = [level.split(halves) for level in self.features(torch.cat([first_BCHW, second_BCHW]))]
        coarse = pairs[self.used[0]][0]
        answers: list[Tensor] = []
        seen, flow = coarse, coarse.new_zeros(coarse.shape[0], 2, *coarse.shape[2:], dtype=torch.float32)
        for index, estimate in zip(self.used, self.estimators, strict=True):
            first, second = pairs[index]
            flow = enlarged(flow.detach(), 2) if answers else flow
            likeness = F.leaky_relu(flow_volume(first, warp(second, flow), self.radius), 0.1)
            seen = torch.cat([likeness, first, flow], 1)
            flow = flow + estimate(seen).float()
            answers.append(enlarged(flow, 2 ** (index + 1)))
        refined = flow + self.change(self.context(seen))
        return [*answers, enlarged(refined, self.last_stride)]


def estimator(inner: int, width: int) -> nn.Sequential:
    """What is still to be added to the flow, by what is seen at a level."""
    return nn.Sequential(
        conv_bn_relu(inner, 2 * width),
        conv_bn_relu(2 * width, width),
        conv_bn_relu(width, width),
        nn.Conv2d(width, 2, 3, padding=1),
    )
