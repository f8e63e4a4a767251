"""What passes between the rooms: samples, batches, losses, predictions, what is known of a dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from cvflow.ops.place import Place

Row = Mapping[str, Any]
"""One prepared row: ``id``, encoded image bytes by image name, annotation columns."""

Raw = Mapping[str, Tensor]
"""What a model gives before decoding: named tensors, first dimension = batch."""

Outputs = Any
"""What one run of the network gives, differentiable, in a form of the task's own."""

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")


@dataclass(frozen=True)
class Loss:
    """A loss as (sum, count), so that it is the same over any number of ranks and micro-batches.

    sum: scalar tensor with gradient. count: scalar tensor, the number of terms in the sum.
    """

    sum: Tensor
    count: Tensor


Direction = Literal["max", "min"]
"""Which values of a metric are the better ones."""


class Objective(NamedTuple):
    """The metric that search, early stop and promotion read."""

    metric: str
    direction: Direction

    def better(self, a: float, b: float) -> bool:
        """Whether ``a`` is strictly better than ``b``."""
        return a > b if self.direction == "max" else a < b


@dataclass
class Sample:
    """One training or test example. images: name -> uint8 tensor CHW, 0..255.

    target: what the loss reads; what moves with the pixels is a
    ``torchvision.tv_tensors.TVTensor``. placed: how the original lies in the images. swaps: names
    of images and targets that change places where left and right do.
    """

    id: str
    images: dict[str, Tensor]
    target: dict[str, Any] = field(default_factory=dict)
    placed: Place | None = None
    swaps: Mapping[str, str] = field(default_factory=dict)

    def but(self, **changes: Any) -> Sample:
        """As ``dataclasses.replace``, at a tenth of its price: every change to every image pays it."""
        return Sample(**{**self.__dict__, **changes})


class Mixed(NamedTuple):
    """What else the images of a batch show. targets: of the partner of each sample; share: scalar,
    0..1, how much is the sample's own.
    """

    targets: dict[str, Any]
    share: Tensor


@dataclass
class Batch:
    """Samples of one size, stacked. images: name -> uint8 BCHW; targets: tensors or lists of length
    B; mixed: where images are mixed.

    placed: of each sample, where there are any.
    """

    ids: list[str]
    images: dict[str, Tensor]
    targets: dict[str, Any] = field(default_factory=dict)
    mixed: Mixed | None = None
    placed: Sequence[Place] = ()

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
            mixed=self.mixed
            and Mixed({k: move(v) for k, v in self.mixed.targets.items()}, move(self.mixed.share)),
        )

    def parts(self, count: int) -> list[Batch]:
        """The batch in ``count`` parts of near equal length (fewer where it has fewer samples)."""
        count = min(count, len(self))
        ends = [len(self) * i // count for i in range(count + 1)]
        return [self] if count == 1 else [self.part(slice(*pair)) for pair in pairwise(ends)]

    def part(self, which: slice) -> Batch:
        """Some of the samples."""
        images, targets = ({k: v[which] for k, v in named.items()} for named in (self.images, self.targets))
        mixed = self.mixed and self.mixed._replace(
            targets={k: v[which] for k, v in self.mixed.targets.items()}
        )
        ids, placed = self.ids[which], self.placed[which]
        return replace(self, ids=ids, images=images, targets=targets, mixed=mixed, placed=placed)


@dataclass(frozen=True)
class Prediction:
    """The answer for one id, in the units of the original image; ``values`` become Parquet columns,
    maps as their canonical bytes.
    """

    id: str
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Schema:
    """Columns of a prepared row besides ``id`` and ``path``.

    images: names of the encoded image columns. annotations: column -> Arrow type name. stratify:
    the annotation whose values are spread evenly over the splits, if any. defaults: annotation ->
    value where the raw data has none. kinds: annotation -> its kind in ``cvflow.annotations``,
    where it lies in the pixels; maps are columns of type ``binary``. identity: the annotation, an
    index of the classes, that says who is shown, if one does: each is wanted several times. swaps:
    names of images and annotations that change places where left and right do.
    """

    images: tuple[str, ...]
    annotations: Mapping[str, str]
    stratify: str | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)
    kinds: Mapping[str, str] = field(default_factory=dict)
    identity: str | None = None
    swaps: Mapping[str, str] = field(default_factory=dict)


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
