"""Changes of place, of an image and of the annotations in it alike: what was on a pixel stays on it.

A ``Move`` says where things go (a ``Place``) and how pixels are moved there. x: uint8 CHW, or a
TVTensor: Mask HxW, BoundingBoxes Nx4, and those of cvflow with kernels of their own. Beyond the
border lies black, in masks VOID, in disparity and flow NaN. Boxes are cut off at the border: one
that left the image has no area any more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from cvflow.loading.transforms.lazy_torchvision import F, tv_tensors, v2
from cvflow.ops import place
from cvflow.ops.labels import VOID
from cvflow.ops.place import Place, Size


@dataclass(frozen=True)
class Move:
    """place: how the image before lies in the one after. pixels: moves an image or an annotation there."""

    place: Place
    pixels: Callable[[Tensor], Tensor]

    def then(self, other: Move) -> Move:
        """Return this move followed by another."""
        return Move(self.place.then(other.place), lambda x: other.pixels(self.pixels(x)))


def resize(size: Size, new: Size) -> Move:
    """Stretch to a new size."""
    return Move(place.resized(size, new), lambda x: resized(x, new))


def cut(size: Size, top: int, left: int, part: Size) -> Move:
    """Take a part, which may reach beyond the border. part: its height and width."""
    return Move(place.shifted(size, -top, -left), lambda x: window(x, top, left, part))


def flip(size: Size) -> Move:
    """Exchange left and right."""
    return Move(place.mirrored(size), mirror)


def turn_over(size: Size) -> Move:
    """Exchange top and bottom."""
    return Move(place.upside_down(size), F.vertical_flip)


def zoom(size: Size, scale: float) -> Move:
    """Enlarge about the centre, at the same size."""
    return Move(place.zoomed(size, scale), lambda x: zoomed(x, scale))


def rotate(size: Size, angle: float) -> Move:
    """Turn about the centre by ``angle`` degrees, counter-clockwise, at the same size; a box to the
    one around it.
    """
    return Move(place.turned(size, angle), lambda x: rotated(x, angle))


def beyond(x: Tensor) -> int | None:
    """Return what lies outside of a mask; None = black, without a blend at the border of turned images."""
    return VOID if isinstance(x, tv_tensors.Mask) else None


def size_of(x: Tensor) -> Size:
    """Return height and width in pixels."""
    height, width = F.get_size(x)
    return height, width


def resized(x: Tensor, size: Sequence[int]) -> Tensor:
    """Return images antialiased; of masks the value at each new pixel's centre."""
    mode = v2.InterpolationMode
    interpolation = mode.NEAREST_EXACT if isinstance(x, tv_tensors.Mask) else mode.BILINEAR
    result: Tensor = F.resize(x, list(size), interpolation=interpolation, antialias=True)
    return result


def window(x: Tensor, top: int, left: int, size: Size) -> Tensor:
    """Return a part of ``size``, which may reach beyond the border."""
    height, width = size_of(x)
    below = top + size[0] - height
    after = left + size[1] - width
    border = [max(0, -left), max(0, -top), max(0, after), max(0, below)]
    bordered = F.pad(x, border, fill=beyond(x)) if any(border) else x
    result: Tensor = F.crop(bordered, max(0, top), max(0, left), *size)
    return result


def mirror(x: Tensor) -> Tensor:
    """Return x with left and right exchanged."""
    result: Tensor = F.horizontal_flip(x)
    return result


def zoomed(x: Tensor, scale: float) -> Tensor:
    """Return x enlarged about its centre, at the same size."""
    result: Tensor = F.affine(
        x, 0.0, [0.0, 0.0], scale, [0.0, 0.0], interpolation=_interpolation(x), fill=beyond(x)
    )
    return result


def rotated(x: Tensor, angle: float) -> Tensor:
    """Return x turned about its centre. angle: degrees, counter-clockwise."""
    result: Tensor = F.rotate(x, angle, interpolation=_interpolation(x), fill=beyond(x))
    return result


def _interpolation(x: Tensor) -> Any:
    mode = v2.InterpolationMode
    return mode.NEAREST if isinstance(x, tv_tensors.Mask) else mode.BILINEAR
