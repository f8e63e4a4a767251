"""Disparity by a cost volume and its soft-argmin (Kendall et al. 2017, GC-Net, arXiv 1703.04309).

The trick: how alike the views are at every shift is laid out as a volume, 3D convolutions clean
it, and the mean shift under the softmax of the costs is a disparity finer than a pixel, with a
gradient. Small: group-wise correlation instead of concatenated features (Guo et al. 2019, arXiv
1903.04025), and a refinement that sees the image (Khamis et al. 2018, StereoNet, arXiv
1807.08463).

Shapes: B batch, C channels, G groups, D disparities of the volume, H W pixels; h w pixels of the features.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from cvflow.config import Image
from cvflow.models.layers import conv_bn_relu
from cvflow.models.siamese import Pyramid, TwoImages, enlarged
from cvflow.ops.cost_volume import disparity_volume, soft_argmin
from cvflow.ops.warp import warp
from cvflow.registry import register
from cvflow.types import DatasetInfo

GROUPS = 8
Width = Annotated[int, Field(ge=8, multiple_of=8)]


@register("model", "cost_volume_stereo")
class CostVolumeStereo(TwoImages):
    """max_disparity: pixels of the model's size; a greater one cannot be answered.

    channels: of the features, a multiple of 8. feature_stride: pixels a step of the volume. depth: 3D
    convolutions between the first and the last.
    """

    answer = "disparity"

    def __init__(
        self,
        image: Image,
        info: DatasetInfo,
        *,
        max_disparity: Annotated[int, Field(ge=4)] = 48,
        channels: Width = 32,
        feature_stride: Literal[2, 4, 8] = 4,
        depth: Annotated[int, Field(ge=0)] = 3,
    ) -> None:
        super().__init__(image.channels, info)
        self.stride = feature_stride
        self.disparities = -(-max_disparity // feature_stride) + 1
        levels = feature_stride.bit_length() - 1
        # Twice as wide a level, up to ``channels``, but never narrower than 8.
        widths = [max(8, channels >> (levels - 1 - i)) for i in range(levels)]
        self.features = Pyramid(image.channels, widths)
        cleaning = [conv3d(GROUPS, 16)]
        for _ in range(depth):
            cleaning.append(conv3d(16, 16))
        self.clean = nn.Sequential(*cleaning, nn.Conv3d(16, 1, 3, padding=1))
        self.refine = nn.Sequential(
            conv_bn_relu(2 * image.channels + 1, 24),
            conv_bn_relu(24, 24, dilation=2),
            conv_bn_relu(24, 24, dilation=4),
            conv_bn_relu(24, 24, dilation=1),
        )
        self.residual = nn.Conv2d(24, 1, 3, padding=1)
        # The refinement begins as no change.
        nn.init.zeros_(self.residual.weight)
        nn.init.zeros_(self.residual.bias)  # type: ignore[arg-type]  # there is one

    def matched(self, first_BCHW: Tensor, second_BCHW: Tensor) -> list[Tensor]:
        """Return B1HW disparities, >= 0: of the volume, and refined."""
        levels = self.features(torch.cat([first_BCHW, second_BCHW]))
        batch = first_BCHW.shape[0]
        # Not chunk(2), whose sizes an export takes for fixed.
        left, right = levels[-1].split([batch, batch])
        volume_BGDhw = disparity_volume(left, right, self.disparities, GROUPS)
        cost_BDhw = self.clean(volume_BGDhw).squeeze(1)
        coarse = enlarged(soft_argmin(cost_BDhw), self.stride)
        change = self._change(first_BCHW, second_BCHW, coarse)
        return [coarse, F.relu(coarse + change)]

    def _change(self, left_BCHW: Tensor, right_BCHW: Tensor, disparity_B1HW: Tensor) -> Tensor:
        """Return the correction that the image and the error of the warped right view suggest."""
        vertical = torch.zeros_like(disparity_B1HW)
        flow_B2HW = torch.cat([-disparity_B1HW, vertical], 1)
        warped = warp(right_BCHW, flow_B2HW)
        scaled_disparity = disparity_B1HW / self.stride
        evidence = torch.cat([left_BCHW, left_BCHW - warped, scaled_disparity], 1)
        change: Tensor = self.residual(self.refine(evidence))
        return change


def conv3d(inner: int, outer: int) -> nn.Sequential:
    """Return a convolution, its norm and a ReLU, which keep the size."""
    return nn.Sequential(
        nn.Conv3d(inner, outer, 3, padding=1, bias=False),
        nn.BatchNorm3d(outer),
        nn.ReLU(inplace=True),
    )
