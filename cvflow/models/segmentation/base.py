"""What networks that label pixels share: normalisation, padding, logits at the image's size.

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

    multiple: images are padded (with their mean colour) to sides that it divides, and the
    logits cut to the image. loss_weights: of the losses of ``outputs``, 1 for those that are
    not named.
    """

    answer = "mask"
    loss_weights: Mapping[str, float] = {}

    def __init__(
        self, backbone: Backbone, image: Image, info: DatasetInfo, normalize: Statistics, multiple: int = 1
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.multiple = multiple
        mean, std = pixel_stats(normalize, backbone, info)
        self.normalize = Normalize(mean, std, image.channels)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        return self.outputs(images_BCHW)["loss"]

    def outputs(self, images_BCHW: Tensor) -> dict[str, Tensor]:
        """Return logits at the image's size by the name of their loss.

        That is ``loss``, and in training the names of heads that only train.
        """
        H, W = images_BCHW.shape[2:]
        border = (0, -W % self.multiple, 0, -H % self.multiple)
        x_BCHW = F.pad(self.normalize(images_BCHW), border)
        size = x_BCHW.shape[2], x_BCHW.shape[3]
        outputs = {}
        for name, logits in self.logits(x_BCHW).items():
            outputs[name] = resized(logits, size)[:, :, :H, :W]
        return outputs

    def logits(self, x_BCHW: Tensor) -> dict[str, Tensor]:
        """Return logits of any size, by the name of their loss, for normalised images."""
        return self.decode(self.backbone(x_BCHW))

    def decode(self, levels: list[Tensor]) -> dict[str, Tensor]:
        """Return the same for the backbone's maps."""
        raise NotImplementedError


def resized(x_BCHW: Tensor, size: tuple[int, int]) -> Tensor:
    """Return a map of this size, bilinear.

    Its gradient on CUDA is deterministic, though slower, if torch is set to be so.
    """
    if x_BCHW.shape[2:] == size:
        return x_BCHW
    return F.interpolate(x_BCHW, size, mode="bilinear", align_corners=False)


def fitted(x_BCHW: Tensor, like: Tensor) -> Tensor:
    """Return the map at the size of another: cut, or bordered with zeros, below and at the right.

    Levels of unpadded convolutions are smaller than their stride says.
    """
    H, W = like.shape[2:]
    h, w = x_BCHW.shape[2:]
    if (h, w) == (H, W):
        return x_BCHW
    return F.pad(x_BCHW, (0, W - w, 0, H - h))


def falling(backbone: Backbone, least: int, model: str) -> list[int]:
    """Return the last level of each stride; RequestError if there are fewer than ``least``."""
    strides = backbone.strides
    ends = []
    for i, stride in enumerate(strides):
        is_last = i + 1 == len(strides)
        if is_last or strides[i + 1] > stride:
            ends.append(i)
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
