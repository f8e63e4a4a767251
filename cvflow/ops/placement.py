"""Where an original lies in what the model sees, and the way back."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

MAPS_AT_ONCE = 2**22
"""Pixels of maps that are brought back together to the original's size."""


@dataclass(frozen=True)
class Placement:
    """How an image lies in what the model sees: model pixel edge = original edge * scale + offset.

    size: height and width of the original. scale: (y, x). offset: (top, left), negative where a crop cut off the rest.
    """

    size: tuple[int, int]
    scale: tuple[float, float] = (1.0, 1.0)
    offset: tuple[float, float] = (0.0, 0.0)

    def map_back(self, map_CHW: Tensor) -> Tensor:
        """A map of what the model sees, of its height and width, at the original's: bilinear, of integers the nearest.

        Where a crop cut the original off, the nearest edge goes on; borders that were padded are gone.
        """
        if not map_CHW.is_floating_point():
            centres = (
                (torch.arange(n) + 0.5) * s + o
                for n, s, o in zip(self.size, self.scale, self.offset, strict=True)
            )
            rows, columns = (
                _within(c.floor(), length) for c, length in zip(centres, map_CHW.shape[1:], strict=True)
            )
            return map_CHW[:, rows][:, :, columns]
        edges = [
            (round(o), round(o + n * s)) for n, s, o in zip(self.size, self.scale, self.offset, strict=True)
        ]
        rows, columns = (
            _within(torch.arange(*pair), length)
            for pair, length in zip(edges, map_CHW.shape[1:], strict=True)
        )
        part = (
            map_CHW
            if edges == [(0, length) for length in map_CHW.shape[1:]]
            else map_CHW[:, rows][:, :, columns]
        )
        same = part.shape[1:] == self.size
        return part if same else F.interpolate(part[None], self.size, mode="bilinear", align_corners=False)[0]

    def labels_back(self, maps_CHW: Tensor) -> Tensor:
        """HxW uint8 at the original's size: which of the maps, brought back, is the greatest; of equal ones the first.

        A few maps at a time: all of them at the size of a large photograph would be gigabytes.
        """
        count = max(1, MAPS_AT_ONCE // (self.size[0] * self.size[1]))
        best, labels = self._greatest(maps_CHW[:count])
        for first in range(count, len(maps_CHW), count):
            values, places = self._greatest(maps_CHW[first : first + count])
            greater = values > best
            best, labels = values.where(greater, best), (places + first).where(greater, labels)
        return labels.to(torch.uint8)

    def _greatest(self, maps_CHW: Tensor) -> tuple[Tensor, Tensor]:
        """(HxW values, HxW indices)"""
        values, places = self.map_back(maps_CHW).max(0)
        return values, places

    def scaled(self, y: float, x: float) -> Placement:
        """In what the model sees, made taller and wider by these factors."""
        return Placement(
            self.size, (self.scale[0] * y, self.scale[1] * x), (self.offset[0] * y, self.offset[1] * x)
        )

    def box_back(self, boxes_N4: Tensor) -> Tensor:
        """Boxes xyxy in model pixels, as they lie in the original; cut off at its border."""
        (height, width), (sy, sx), (top, left) = self.size, self.scale, self.offset
        boxes = (boxes_N4 - boxes_N4.new_tensor([left, top, left, top])) / boxes_N4.new_tensor(
            [sx, sy, sx, sy]
        )
        return boxes.clamp(min=0).minimum(boxes.new_tensor([width, height, width, height]))


def _within(places: Tensor, length: int) -> Tensor:
    return places.long().clamp(0, length - 1)
