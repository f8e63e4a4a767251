"""Where an original lies in what the model sees, and the way back, for points, boxes, maps and vectors.

Coordinates are (x, y), measured from the left and upper edge in pixels: the first pixel reaches from 0 to 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

Size = tuple[int, int]
"""Height and width in pixels."""
Row = tuple[float, float, float]
Matrix = tuple[Row, Row]
"""2x3: (x, y, 1) -> (x, y)."""

IDENTITY: Matrix = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
MAPS_AT_ONCE = 2**22
"""Pixels of maps that are brought back together to the original's size."""
NAN = float("nan")


@dataclass(frozen=True)
class Place:
    """How an original lies in what the model sees.

    size: height and width of the original. matrix: takes a point of the original to where the model sees it.
    """

    size: Size
    matrix: Matrix = IDENTITY

    @property
    def scale(self) -> tuple[float, float]:
        """(y, x): how much larger things are for the model; negative if mirrored."""
        return self.matrix[1][1], self.matrix[0][0]

    @property
    def offset(self) -> tuple[float, float]:
        """(y, x): where the original's upper left corner is for the model."""
        return self.matrix[1][2], self.matrix[0][2]

    @property
    def is_upright(self) -> bool:
        """Whether rows stay rows: scaled, shifted or mirrored only."""
        return self.matrix[0][1] == 0 and self.matrix[1][0] == 0

    def then(self, step: Place) -> Place:
        """Return the place after another step, whose original is what this one shows."""
        return Place(self.size, _product(step.matrix, self.matrix))

    def back(self, size: Size) -> Place:
        """Return the way back. size: height and width of what the model sees."""
        return Place(size, _inverse(self.matrix))

    def points(self, points_N2: Tensor) -> Tensor:
        """Return where points (x, y) of the original are for the model."""
        linear = points_N2.new_tensor([row[:2] for row in self.matrix])
        shift = points_N2.new_tensor([row[2] for row in self.matrix])
        return points_N2 @ linear.T + shift

    def boxes(self, boxes_N4: Tensor) -> Tensor:
        """Return where boxes xyxy of the original are for the model: the upright ones around the
        moved corners.
        """
        left, top, right, bottom = boxes_N4.unbind(1)
        corners_N42 = torch.stack(
            [
                torch.stack([left, top], 1),
                torch.stack([right, top], 1),
                torch.stack([left, bottom], 1),
                torch.stack([right, bottom], 1),
            ],
            1,
        )
        moved_N42 = self.points(corners_N42.flatten(0, 1)).view_as(corners_N42)
        return torch.cat([moved_N42.amin(1), moved_N42.amax(1)], 1)

    def boxes_back(self, boxes_N4: Tensor) -> Tensor:
        """Return boxes xyxy of the model's pixels as they lie in the original, cut off at its border."""
        height, width = self.size
        scale_y, scale_x = self.scale
        top, left = self.offset
        shift = boxes_N4.new_tensor([left, top, left, top])
        scale = boxes_N4.new_tensor([scale_x, scale_y, scale_x, scale_y])
        boxes = (boxes_N4 - shift) / scale
        return boxes.clamp(min=0).minimum(boxes.new_tensor([width, height, width, height]))

    def map(self, map_CHW: Tensor) -> Tensor:
        """Return a map of what the model sees at the original's size: bilinear; of integers the
        nearest value.

        If a crop cut the original off, the nearest edge goes on; borders that were padded are gone.
        Upright places only.
        """
        height, width = map_CHW.shape[1:]
        if not map_CHW.is_floating_point():
            rows = self._nearest(0, height, map_CHW.device)
            columns = self._nearest(1, width, map_CHW.device)
            return map_CHW[:, rows][:, :, columns]
        part = map_CHW
        if (self._span(0), self._span(1)) != ((0, height), (0, width)):
            rows = torch.arange(*self._span(0), device=map_CHW.device).clamp(0, height - 1)
            columns = torch.arange(*self._span(1), device=map_CHW.device).clamp(0, width - 1)
            part = map_CHW[:, rows][:, :, columns]
        if part.shape[1:] == self.size:
            return part
        return F.interpolate(part[None], self.size, mode="bilinear", align_corners=False)[0]

    def _span(self, axis: int) -> tuple[int, int]:
        """Return the first and the last pixel edge, for the model, of the original's rows (axis 0)
        or columns (1).
        """
        scale, offset = self.scale[axis], self.offset[axis]
        return round(offset), round(offset + self.size[axis] * scale)

    def _nearest(self, axis: int, length: int, device: torch.device) -> Tensor:
        """Return for each row or column of the original the model's one at its centre. length: how
        many the model has.
        """
        centres = torch.arange(self.size[axis], device=device) + 0.5
        seen = centres * self.scale[axis] + self.offset[axis]
        return seen.floor().long().clamp(0, length - 1)

    def labels(self, maps_CHW: Tensor) -> Tensor:
        """Return HxW uint8 at the original's size: which map, brought back, is the greatest; of
        equal ones the first.

        A few maps are brought back at a time: all of them at the size of a large photograph would
        take gigabytes.
        """
        count = max(1, MAPS_AT_ONCE // (self.size[0] * self.size[1]))
        best, labels = self.map(maps_CHW[:count]).max(0)
        for first in range(count, len(maps_CHW), count):
            values, places = self.map(maps_CHW[first : first + count]).max(0)
            greater = values > best
            best = values.where(greater, best)
            labels = (places + first).where(greater, labels)
        return labels.to(torch.uint8)

    def put(self, map_BCHW: Tensor) -> Tensor:
        """Return a map of what the model sees where it belongs in the original, NaN where the model
        did not look.

        For upright places; mirrored ones are mirrored back.
        """
        top, bottom = self._covered(0, map_BCHW.shape[2])
        left, right = self._covered(1, map_BCHW.shape[3])
        flips = [axis - 2 for axis in (0, 1) if self.scale[axis] < 0]
        unmirrored = map_BCHW.flip(flips) if flips else map_BCHW
        size = (bottom - top, right - left)
        part = F.interpolate(unmirrored, size, mode="bilinear", align_corners=False)
        return window(part, -top, -left, self.size, NAN)

    def _covered(self, axis: int, length: int) -> tuple[int, int]:
        """Return the first and the last pixel edge of the original that the model sees. length:
        pixels of the model.
        """
        scale, offset = self.scale[axis], self.offset[axis]
        edges = sorted((edge - offset) / scale for edge in (0, length))
        return round(edges[0]), round(edges[1])

    def vectors_back(self, map_CHW: Tensor) -> Tensor:
        """Return displacements (x, y), or x alone, in pixels of the original instead of the
        model's; nothing is moved.

        map_CHW: of any leading dimensions.
        """
        channels = map_CHW.shape[-3]
        if self.is_upright:
            scale = (self.matrix[0][0], self.matrix[1][1])
            return map_CHW / map_CHW.new_tensor(scale[:channels]).view(-1, 1, 1)
        if channels != 2:
            raise ValueError("displacements along x alone are lost where rows do not stay rows")
        inverse = map_CHW.new_tensor([row[:2] for row in _inverse(self.matrix)])
        return torch.einsum("ij,...jhw->...ihw", inverse, map_CHW)

    def in_pixels(self, size: Size) -> Place:
        """Return a place of the unit square as one of images. size: of the original, and of what
        the model sees.
        """
        height, width = size
        (a, b, x), (c, d, y) = self.matrix
        return Place(size, ((a, b * width / height, x * width), (c * height / width, d, y * height)))


def resized(size: Size, new: Size) -> Place:
    """Return the place of an image stretched to a new size."""
    return Place(size, ((new[1] / size[1], 0.0, 0.0), (0.0, new[0] / size[0], 0.0)))


def shifted(size: Size, down: float, right: float) -> Place:
    """Return the place of an image that lies so many pixels further down and right."""
    return Place(size, ((1.0, 0.0, right), (0.0, 1.0, down)))


def mirrored(size: Size) -> Place:
    """Return the place of an image with left and right exchanged."""
    return Place(size, ((-1.0, 0.0, size[1]), (0.0, 1.0, 0.0)))


def upside_down(size: Size) -> Place:
    """Return the place of an image with top and bottom exchanged."""
    return Place(size, ((1.0, 0.0, 0.0), (0.0, -1.0, size[0])))


def zoomed(size: Size, scale: float) -> Place:
    """Return the place of an image enlarged about its centre, at the same size."""
    return turned(size, 0.0, scale)


def turned(size: Size, angle: float, scale: float = 1.0) -> Place:
    """Return the place of an image turned about its centre, at the same size. angle: degrees,
    counter-clockwise.
    """
    y, x = size[0] / 2, size[1] / 2
    cos = scale * math.cos(math.radians(angle))
    sin = scale * math.sin(math.radians(angle))
    return Place(size, ((cos, sin, x - cos * x - sin * y), (-sin, cos, y + sin * x - cos * y)))


def window(image: Tensor, top: int, left: int, size: Size, beyond: float = 0) -> Tensor:
    """Return a part of an image ...HW. It may reach beyond the image, where it is filled."""
    below = top + size[0] - image.shape[-2]
    after = left + size[1] - image.shape[-1]
    # a negative padding cuts
    return F.pad(image, (-left, after, -top, below), value=beyond)


def _product(second: Matrix, first: Matrix) -> Matrix:
    """Return the matrix of ``first`` and then ``second``."""
    rows = []
    for a, b, shift in second:
        x, y = first
        rows.append((a * x[0] + b * y[0], a * x[1] + b * y[1], a * x[2] + b * y[2] + shift))
    return rows[0], rows[1]


def _inverse(matrix: Matrix) -> Matrix:
    (a, b, x), (c, d, y) = matrix
    if b == 0 and c == 0:
        return ((1 / a, 0.0, -x / a), (0.0, 1 / d, -y / d))
    det = a * d - b * c
    return ((d / det, -b / det, (b * y - d * x) / det), (-c / det, a / det, (c * x - a * y) / det))
