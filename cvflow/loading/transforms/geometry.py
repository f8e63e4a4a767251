"""Changes of place, of an image and of the annotations in it alike: what was on a pixel stays on it.

x: uint8 CHW, or a TVTensor: Mask HxW, BoundingBoxes Nx4, and those of cvflow with kernels of their own. Beyond the border lies
black, in masks VOID, in disparity and flow NaN. Boxes are cut off at the border: one that left the image has no area any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from cvflow.loading.transforms.lazy_torchvision import F, tv_tensors, v2
from cvflow.ops.labels import VOID

Size = tuple[int, int]


def beyond(x: Tensor) -> int | None:
    """What lies outside of a mask; None = black, without a blend at the border of turned images."""
    return VOID if isinstance(x, tv_tensors.Mask) else None


def size_of(x: Tensor) -> Size:
    height, width = F.get_size(x)
    return height, width


def resized(x: Tensor, size: Sequence[int]) -> Tensor:
    """Images antialiased; of masks the value at each new pixel's centre."""
    how = (
        v2.InterpolationMode.NEAREST_EXACT
        if isinstance(x, tv_tensors.Mask)
        else v2.InterpolationMode.BILINEAR
    )
    result: Tensor = F.resize(x, list(size), interpolation=how, antialias=True)
    return result


def window(x: Tensor, top: int, left: int, size: Size) -> Tensor:
    """A part of ``size``, which may reach beyond the border."""
    height, width = size_of(x)
    border = [max(0, -left), max(0, -top), max(0, left + size[1] - width), max(0, top + size[0] - height)]
    bordered = F.pad(x, border, fill=beyond(x)) if any(border) else x
    result: Tensor = F.crop(bordered, max(0, top), max(0, left), *size)
    return result


def mirror(x: Tensor) -> Tensor:
    """Left and right exchanged."""
    result: Tensor = F.horizontal_flip(x)
    return result


def zoomed(x: Tensor, scale: float) -> Tensor:
    """Enlarged about the centre, at the same size."""
    result: Tensor = F.affine(
        x, 0.0, [0.0, 0.0], scale, [0.0, 0.0], interpolation=_between(x), fill=beyond(x)
    )
    return result


def rotated(x: Tensor, angle: float) -> Tensor:
    """Turned about the centre by ``angle`` degrees, counter-clockwise, at the same size; a box to the one around it."""
    result: Tensor = F.rotate(x, angle, interpolation=_between(x), fill=beyond(x))
    return result


def _between(x: Tensor) -> Any:
    return v2.InterpolationMode.NEAREST if isinstance(x, tv_tensors.Mask) else v2.InterpolationMode.BILINEAR
