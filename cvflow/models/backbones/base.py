"""What every backbone offers: feature maps by level, one feature vector, names of published weights.

Shapes: B batch, C channels, H W pixels of the map, F features.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from cvflow.errors import Fault, RequestError

PixelStats = tuple[tuple[float, ...], tuple[float, ...]]
"""(mean, std) per channel, of pixels in 0..1."""


class Backbone(nn.Module):
    """A network without its classifier.

    channels, strides: one entry a level, fine to coarse; strides in input pixels. num_features:
    F of ``embed``. head_keys: the classifier's name in published weights. pixel_stats: what the
    published weights were trained with, where the library loaded them. conv_norms: which norm
    follows which convolution, for backbones that have such pairs outside of an
    ``nn.Sequential``. slides: whether ``embed`` has fully connected layers that ``slide`` can
    move over a map.
    """

    channels: tuple[int, ...]
    strides: tuple[int, ...]
    num_features: int
    head_keys: tuple[str, ...] = ()
    pixel_stats: PixelStats | None = None
    slides: bool = False

    def forward(self, x_BCHW: Tensor) -> list[Tensor]:
        """Return a BCHW map a level, fine to coarse, for normalised float images."""
        raise NotImplementedError

    def embed(self, x_BCHW: Tensor) -> Tensor:
        """Return B x F, what the classifier's linear layer reads, for normalised float images."""
        levels = self.forward(x_BCHW)
        return levels[-1].mean((2, 3))

    def slide(self, last_BCHW: Tensor) -> Tensor:
        """Return what the fully connected layers give at every pixel of the last level: B x F x H x W."""
        raise NotImplementedError

    def maps_only(self) -> None:
        """Drop the layers that ``embed`` alone reads, for a network that is made of maps."""


@contextmanager
def fetching(model: str) -> Iterator[None]:
    """Turn any failure to get published weights into a RequestError that names the way without network."""
    try:
        yield
    # each library, and each HTTP client below it, has exceptions of its own
    except Exception as error:
        lines = str(error).strip().splitlines()
        reason = lines[0][:120] if lines else "no reason"
        raise RequestError(
            Fault(
                "model.backbone.pretrained",
                f"no published weights for '{model}' ({type(error).__name__}: {reason})",
                "weights that can be fetched",
                "Without network, leave 'pretrained' out and type 'weights: FILE.safetensors' under 'model'.",
            )
        ) from error


def too_small(backbone: str, size: tuple[int, int], least: int) -> RequestError:
    """Return the error for an image that shrinks to nothing; least: a side in pixels that is enough."""
    height, width = size
    return RequestError(
        Fault(
            "image.size",
            f"{height}x{width}",
            f"at least {least}x{least} for the backbone '{backbone}'",
            f"Type 'size: [{least}, {least}]' under 'image', or choose another backbone.",
        )
    )
