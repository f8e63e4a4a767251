"""Disparity and flow as tensors that change as their images do, in place and in value.

torchvision's functional transforms find the kernels below by the type. Beyond the border, and where
it is unknown, lies NaN; a map is never blended with its neighbours: the value of a new pixel is
that of the old one at its centre.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as nn
from torchvision.transforms.functional import _get_inverse_affine_matrix
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F
from torchvision.tv_tensors import TVTensor, wrap

from cvflow.errors import Fault, RequestError

NAN = float("nan")


class Disparity(TVTensor):  # type: ignore[misc]  # torchvision has no types
    """1xHxW float32, x_left - x_right in pixels.

    Mirrored pairs have their views exchanged, so its values stay.
    """


class Flow(TVTensor):  # type: ignore[misc]
    """2xHxW float32, (u, v) in pixels, u to the right and v down."""


TENSORS = {"disparity": Disparity, "flow": Flow}
"""By kind of annotation."""


def _kernel(name: str, *kinds: type[TVTensor]) -> Callable[[Callable[..., Tensor]], Callable[..., Tensor]]:
    """Registers a kernel from plain tensor to plain tensor; it gets the map's type as ``kind``."""

    def keep(kernel: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def of_kind(x: Any, *args: Any, **options: Any) -> Any:
            return wrap(kernel(x.as_subclass(Tensor), *args, **options), like=x)

        for kind in kinds:
            F.register_kernel(getattr(F, name), kind)(of_kind)
        return kernel

    return keep


def _get_size(x: Tensor) -> list[int]:
    return list(x.shape[-2:])


F.register_kernel(F.get_size, Disparity)(_get_size)
F.register_kernel(F.get_size, Flow)(_get_size)


@_kernel("resize", Disparity, Flow)
def _resize(map_CHW: Tensor, size: Sequence[int], **_: Any) -> Tensor:
    """As many pixels more or less as the image has; u and disparity by the ratio of widths, v of heights."""
    ratios = [
        new / old for new, old in zip(reversed(size), (map_CHW.shape[2], map_CHW.shape[1]), strict=True)
    ]
    placed = nn.interpolate(map_CHW[None], tuple(size), mode="nearest-exact")[0]
    return placed * map_CHW.new_tensor(ratios[: len(map_CHW)]).view(-1, 1, 1)


@_kernel("crop", Disparity, Flow)
def _crop(map_CHW: Tensor, top: int, left: int, height: int, width: int) -> Tensor:
    below, after = top + height - map_CHW.shape[1], left + width - map_CHW.shape[2]
    # a negative padding cuts
    return nn.pad(map_CHW, (-left, after, -top, below), value=NAN)


@_kernel("pad", Disparity, Flow)
def _pad(map_CHW: Tensor, padding: Sequence[int], **_: Any) -> Tensor:
    """padding: left, top, right, bottom."""
    left, top, right, bottom = padding
    return nn.pad(map_CHW, (left, right, top, bottom), value=NAN)


@_kernel("horizontal_flip", Disparity)
def _mirror_disparity(map_1HW: Tensor) -> Tensor:
    return map_1HW.flip(-1)


@_kernel("horizontal_flip", Flow)
def _mirror_flow(map_2HW: Tensor) -> Tensor:
    return map_2HW.flip(-1) * map_2HW.new_tensor([-1, 1]).view(2, 1, 1)


@_kernel("vertical_flip", Disparity)
def _turn_disparity_over(map_1HW: Tensor) -> Tensor:
    return map_1HW.flip(-2)


@_kernel("vertical_flip", Flow)
def _turn_flow_over(map_2HW: Tensor) -> Tensor:
    return map_2HW.flip(-2) * map_2HW.new_tensor([1, -1]).view(2, 1, 1)


@_kernel("affine", Flow)
def _affine_flow(
    map_2HW: Tensor,
    angle: float,
    translate: list[float],
    scale: float,
    shear: list[float],
    center: list[float] | None = None,
    **_: Any,
) -> Tensor:
    """angle: clockwise, degrees. The vectors are turned and stretched as the pixels are."""
    placed = F.affine(map_2HW, angle, translate, scale, shear, InterpolationMode.NEAREST, NAN, center)
    a, b, _, c, d, _ = _get_inverse_affine_matrix([0.0, 0.0], angle, [0.0, 0.0], scale, shear)
    forth_22 = torch.linalg.inv(torch.tensor([[a, b], [c, d]], dtype=torch.float64)).float()
    return torch.einsum("ij,jhw->ihw", forth_22, placed)


@_kernel("affine", Disparity)
def _affine_disparity(
    map_1HW: Tensor,
    angle: float,
    translate: list[float],
    scale: float,
    shear: list[float],
    center: list[float] | None = None,
    **_: Any,
) -> Tensor:
    """Enlarged or shifted only: what turns would leave the rows, along which the views are compared."""
    if angle or any(shear):
        raise off_the_rows()
    placed: Tensor = F.affine(map_1HW, angle, translate, scale, shear, InterpolationMode.NEAREST, NAN, center)
    return placed * scale


@_kernel("rotate", Flow)
def _rotate_flow(map_2HW: Tensor, angle: float, interpolation: Any = None, **options: Any) -> Tensor:
    """angle: counter-clockwise, degrees."""
    return _affine_flow(map_2HW, -angle, [0.0, 0.0], 1.0, [0.0, 0.0])


@_kernel("rotate", Disparity)
def _rotate_disparity(map_1HW: Tensor, angle: float, **_: Any) -> Tensor:
    raise off_the_rows()


def off_the_rows() -> RequestError:
    """The error of a transform that would take a stereo pair off its rows."""
    return RequestError(
        Fault(
            "train.augment", "a rotation of a stereo pair", "changes that keep its rows", "Leave rotate out."
        )
    )
