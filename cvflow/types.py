"""What passes between the rooms: samples, batches, losses, predictions, what is known of a dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

Row = Mapping[str, Any]
"""One prepared row: ``id``, encoded image bytes by image name, annotation columns."""

Raw = Mapping[str, Tensor]
"""What a model gives before decoding: named tensors, first dimension = batch."""

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")


@dataclass(frozen=True)
class Loss:
    """A loss as (sum, count), so that it is the same over any number of ranks and micro-batches.

    sum: scalar tensor with gradient. count: scalar tensor, the number of terms in the sum.
    """

    sum: Tensor
    count: Tensor


class Objective(NamedTuple):
    """The metric that search, early stop and promotion read."""

    metric: str
    direction: Literal["max", "min"]

    def better(self, a: float, b: float) -> bool:
        """Whether ``a`` is strictly better than ``b``."""
        return a > b if self.direction == "max" else a < b


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
            centres = ((torch.arange(n) + 0.5) * s + o for n, s, o in zip(self.size, self.scale, self.offset, strict=True))
            rows, columns = (_within(c.floor(), length) for c, length in zip(centres, map_CHW.shape[1:], strict=True))
            return map_CHW[:, rows][:, :, columns]
        edges = [(round(o), round(o + n * s)) for n, s, o in zip(self.size, self.scale, self.offset, strict=True)]
        rows, columns = (_within(torch.arange(*pair), length) for pair, length in zip(edges, map_CHW.shape[1:], strict=True))
        part = map_CHW if edges == [(0, length) for length in map_CHW.shape[1:]] else map_CHW[:, rows][:, :, columns]
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
        return Placement(self.size, (self.scale[0] * y, self.scale[1] * x), (self.offset[0] * y, self.offset[1] * x))

    def box_back(self, boxes_N4: Tensor) -> Tensor:
        """Boxes xyxy in model pixels, as they lie in the original; cut off at its border."""
        (height, width), (sy, sx), (top, left) = self.size, self.scale, self.offset
        boxes = (boxes_N4 - boxes_N4.new_tensor([left, top, left, top])) / boxes_N4.new_tensor([sx, sy, sx, sy])
        return boxes.clamp(min=0).minimum(boxes.new_tensor([width, height, width, height]))


def _within(places: Tensor, length: int) -> Tensor:
    return places.long().clamp(0, length - 1)


@dataclass
class Sample:
    """One training or test example. images: name -> uint8 tensor CHW, 0..255.

    target: what the loss reads; what moves with the pixels is a ``torchvision.tv_tensors.TVTensor``.
    truth: the annotation in the original's pixels, as numpy arrays and numbers, for the metric; training has none.
    placed: how the original lies in the images. swaps: names of images and targets that change places where left and right do.
    """

    id: str
    images: dict[str, Tensor]
    target: dict[str, Any] = field(default_factory=dict)
    truth: dict[str, Any] = field(default_factory=dict)
    placed: Placement | None = None
    swaps: Mapping[str, str] = field(default_factory=dict)

    def but(self, **changes: Any) -> Sample:
        """As ``dataclasses.replace``, at a tenth of its price: every change to every image pays it."""
        return Sample(**{**self.__dict__, **changes})


class Mixed(NamedTuple):
    """What else the images of a batch show. targets: of the partner of each sample; share: scalar, 0..1, how much is the sample's own."""

    targets: dict[str, Any]
    share: Tensor


@dataclass
class Batch:
    """Samples of one size, stacked. images: name -> uint8 BCHW; targets: tensors or lists of length B; mixed: where images are mixed.

    placed, truths: of each sample; where there are any.
    """

    ids: list[str]
    images: dict[str, Tensor]
    targets: dict[str, Any] = field(default_factory=dict)
    mixed: Mixed | None = None
    placed: Sequence[Placement] = ()
    truths: Sequence[Mapping[str, Any]] = ()

    def __len__(self) -> int:
        return len(self.ids)

    def to(self, device: torch.device, channels_last: bool = False) -> Batch:
        """On the device. channels_last: images in the memory order NHWC."""
        order = {"memory_format": torch.channels_last} if channels_last else {}

        def move(value: Any, **how: Any) -> Any:
            return value.to(device, non_blocking=True, **how) if isinstance(value, Tensor) else value

        return replace(
            self,
            images={k: move(v, **order) for k, v in self.images.items()},
            targets={k: move(v) for k, v in self.targets.items()},
            mixed=self.mixed and Mixed({k: move(v) for k, v in self.mixed.targets.items()}, move(self.mixed.share)),
        )

    def parts(self, count: int) -> list[Batch]:
        """The batch in ``count`` parts of near equal length (fewer where it has fewer samples)."""
        count = min(count, len(self))
        ends = [len(self) * i // count for i in range(count + 1)]
        return [self] if count == 1 else [self.part(slice(*pair)) for pair in pairwise(ends)]

    def part(self, which: slice) -> Batch:
        """Some of the samples."""
        images, targets = ({k: v[which] for k, v in named.items()} for named in (self.images, self.targets))
        mixed = self.mixed and self.mixed._replace(targets={k: v[which] for k, v in self.mixed.targets.items()})
        placed, truths = self.placed[which], self.truths[which]
        return replace(self, ids=self.ids[which], images=images, targets=targets, mixed=mixed, placed=placed, truths=truths)


@dataclass(frozen=True)
class Prediction:
    """The answer for one id, in the units of the original image; ``values`` become Parquet columns, maps as their canonical bytes."""

    id: str
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Schema:
    """Columns of a prepared row besides ``id`` and ``path``.

    images: names of the encoded image columns. annotations: column -> Arrow type name.
    stratify: the annotation whose values are spread evenly over the splits, if any.
    defaults: annotation -> value where the raw data has none. kinds: annotation -> its kind in ``cvflow.data.annotations``, where
    it lies in the pixels; maps are columns of type ``binary``. identity: the annotation, an index of the classes, that says who is
    shown, if one does: each is wanted several times.
    """

    images: tuple[str, ...]
    annotations: Mapping[str, str]
    stratify: str | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)
    kinds: Mapping[str, str] = field(default_factory=dict)
    identity: str | None = None


@dataclass(frozen=True)
class DatasetInfo:
    """What ``dataset.json`` says. mean, std: per channel (RGB), of pixels in 0..1, over the train split."""

    task: str
    classes: tuple[str, ...]
    counts: Mapping[str, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    source_digest: str
    extra: Mapping[str, Any] = field(default_factory=dict)
