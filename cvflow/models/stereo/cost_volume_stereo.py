"""Disparity by a cost volume and its soft-argmin (Kendall et al. 2017, GC-Net, arXiv 1703.04309).

The trick: how alike the views are at every shift is laid out as a volume, 3D convolutions clean it, and the mean shift under
the softmax of the costs is a disparity finer than a pixel, with a gradient. Small: group-wise correlation instead of
concatenated features (Guo et al. 2019, arXiv 1903.04025), and a refinement that sees the image (Khamis et al. 2018,
StereoNet, arXiv 1807.08463).

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
    """max_disparity: pixels of the model's size; a greater one cannot be found. channels: of the features, a multiple of 8.

    feature_stride: pixels a step of the volume. depth: 3D convolutions between the first and the last.
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
        self.features = Pyramid(image.channels, [max(8, channels >> (levels - 1 - i)) for i in range(levels)])
        self.clean = nn.Sequential(
            conv3d(GROUPS, 16), *(conv3d(16, 16) for _ in range(depth)), nn.Conv3d(16, 1, 3, padding=1)
        )
        self.refine = nn.Sequential(
            conv_bn_relu(2 * image.channels + 1, 24), *(conv_bn_relu(24, 24, dilation=d) for d in (2, 4, 1))
        )
        self.residual = nn.Conv2d(24, 1, 3, padding=1)
        nn.init.zeros_(self.residual.weight)  # begins as no change
        nn.init.zeros_(self.residual.bias)  # type: ignore[arg-type]  # there is one

    def matched(self, first_BCHW: Tensor, second_BCHW: Tensor) -> list[Tensor]:
        """B1HW disparities, >= 0: of the volume, and refined."""
        both, count = self.features(torch.cat([first_BCHW, second_BCHW]))[-1], first_BCHW.shape[0]
        left, right = both.split([count, count])  # not chunk(2), whose sizes an export takes for fixed
        cost_BDhw = self.clean(disparity_volume(left, right, self.disparities, GROUPS)).squeeze(1)
        coarse = enlarged(soft_argmin(cost_BDhw), self.stride)
        return [coarse, F.relu(coarse + self._change(first_BCHW, second_BCHW, coarse))]

    def _change(self, left_BCHW: Tensor, right_BCHW: Tensor, disparity_B1HW: Tensor) -> Tensor:
        """What the image and the error of the right view, laid on the left one, say about the disparity."""
        still = torch.zeros_like(disparity_B1HW)
        laid = warp(right_BCHW, torch.cat([-disparity_B1HW, still], 1))
        change: Tensor = self.residual(
            self.refine(torch.cat([left_BCHW, left_BCHW - laid, disparity_B1HW / self.stride], 1))
        )
        return change


def conv3d(inner: int, outer: int) -> nn.Sequential:
    """Of the same size."""
    return nn.Sequential(
        nn.Conv3d(inner, outer, 3, padding=1, bias=False), nn.BatchNorm3d(outer), nn.ReLU(inplace=True)
    )
