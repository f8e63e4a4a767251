"""SegNet (Badrinarayanan, Kendall and Cipolla, 2015, arXiv 1511.00561).

The trick: the decoder learns no upsampling. Each max pooling's switches say where its values
came from; the mirrored decoder puts its own values there and fills the gaps by convolutions.
Outlines stay sharp, and nothing but indices is remembered.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from cvflow.config import Image
from cvflow.models.classifier import Statistics
from cvflow.models.segmentation.encoder_decoder import Mirrored
from cvflow.registry import register
from cvflow.types import DatasetInfo


@register("model", "segnet")
class SegNet(Mirrored):
    """VGG-16's 13 convolutions with batch norm, and their mirror image.

    width: channels of the first stage, 64 in the paper; less is slim. stages: poolings; each halves the
    map, and small images are soon of one pixel. At width 64 torchvision's vgg16_bn weights fit the
    encoder.
    """

    def __init__(
        self,
        image: Image,
        info: DatasetInfo,
        *,
        width: Annotated[int, Field(ge=1)] = 64,
        stages: Annotated[int, Field(ge=1, le=5)] = 5,
        normalize: Statistics = "auto",
    ) -> None:
        widths = [width, 2 * width, 4 * width, 8 * width, 8 * width]
        depths = [2, 2, 3, 3, 3]
        super().__init__(
            image,
            info,
            normalize,
            widths[:stages],
            depths[:stages],
            "max_unpooling",
        )
