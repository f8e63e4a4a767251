"""What the networks that label pixels share: normalisation, padding to what their strides divide, logits at the image's size.

Shapes: B batch, C channels or classes, H W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn import functional as F

from cvflow.config import Image
from cvflow.errors import Fault, RequestError
from cvflow.models.backbones.base import Backbone
from cvflow.models.classifier import Statistics, pixel_stats
from cvflow.models.normalize import Normalize
from cvflow.types import DatasetInfo


class Segmenter(nn.Module):
    """uint8 images BCHW -> logits B x classes x H x W, for images of any size.

    multiple: images are padded (with their mean colour) to sides that it divides, and the logits cut to the image.
    loss_weights: of the losses of ``outputs``, 1 where there is none.
    """

    answer = "mask"
    loss_weights: Mapping[str, float] = {}

    def __init__(
        self, backbone: Backbone, image: Image, info: DatasetInfo, normalize: Statistics, multiple: int = 1
    ) -> None:
        super().__init__()
        self.backbone, self.multiple = backbone, multiple
        self.normalize = Normalize(*pixel_stats(normalize, backbone, info), image.channels)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        return self.outputs(images_BCHW)["loss"]

    def outputs(self, images_BCHW: Tensor) -> dict[str, Tensor]:
        """Logits at the image's size by the name of their loss: ``loss``, and in training those of heads that only train."""
        H, W = images_BCHW.shape[2:]
        x_BCHW = F.pad(self.normalize(images_BCHW), (0, -W % self.multiple, 0, -H % self.multiple))
        size = x_BCHW.shape[2], x_BCHW.shape[3]
        return {name: resized(logits, size)[:, :, :H, :W] for name, logits in self.logits(x_BCHW).items()}

    def logits(self, x_BCHW: Tensor) -> dict[str, Tensor]:
        """Normalised images -> logits of any size, by the name of their loss."""
        return self.decode(self.backbone(x_BCHW))

    def decode(self, levels: list[Tensor]) -> dict[str, Tensor]:
        """The backbone's maps -> the same."""
        raise NotImplementedError


def resized(x_BCHW: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear; its gradient on CUDA is deterministic, though slower, where torch is told to be so."""
    return (
        x_BCHW
        if x_BCHW.shape[2:] == size
        else F.interpolate(x_BCHW, size, mode="bilinear", align_corners=False)
    )


def fitted(x_BCHW: Tensor, like: Tensor) -> Tensor:
    """Cut, or bordered with zeros, below and at the right: levels of unpadded convolutions are smaller than their stride says."""
    (H, W), (h, w) = like.shape[2:], x_BCHW.shape[2:]
    return x_BCHW if (h, w) == (H, W) else F.pad(x_BCHW, (0, W - w, 0, H - h))


def falling(backbone: Backbone, least: int, model: str) -> list[int]:
    """The levels that halve the resolution or more: of those with one stride the last. RequestError where they are fewer than ``least``."""
    strides = backbone.strides
    ends = [i for i, stride in enumerate(strides) if i + 1 == len(strides) or strides[i + 1] > stride]
    if len(ends) < least:
        got = f"a backbone of strides {', '.join(map(str, strides))}"
        raise RequestError(
            Fault(
                "model.backbone",
                got,
                f"{least} levels of different strides for {model}",
                "Choose another backbone.",
            )
        )
    return ends
