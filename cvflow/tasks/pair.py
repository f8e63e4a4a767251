"""What stereo and flow share: two images in, a map of distances at every pixel of the first out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cvflow.annotations import KINDS
from cvflow.annotations.image import ImageFault, decode
from cvflow.config import Recipe
from cvflow.errors import Fault
from cvflow.formats.record import Format
from cvflow.metrics.endpoint import Bad, EndpointMetric, epe
from cvflow.tasks.base import BaseTask, Metric
from cvflow.tasks.refusals import unfit
from cvflow.types import Batch, DatasetInfo, Loss, Objective, Prediction, Raw, Row, Sample

COARSER = 0.5
"""How much less each coarser answer of a network counts in the loss than the next finer one."""


class PairTask(BaseTask):
    """answer: the column of the map too, in rows and predictions. swaps: as a sample's.

    shares: what is measured beside the end-point error.
    """

    shares: Mapping[str, Bad]
    swaps: Mapping[str, str] = {}
    quality_name = "-EPE"

    def loss(self, answer_BCHW: Tensor, truth_BCHW: Tensor) -> Loss:
        raise NotImplementedError

    def objective(self, cfg: Recipe) -> Objective:
        return Objective("epe", "min")

    def data_faults(self, cfg: Recipe, reader: Format) -> list[Fault]:
        """A mirrored pair takes every map that changes places with one that is there."""
        if not unfit(cfg, "mirrors", "", ""):
            return []
        for record in reader:
            lacking = [
                other
                for name, other in self.swaps.items()
                if name in record.maps and other not in record.maps
            ]
            if lacking and record.split in (None, "train"):
                return unfit(
                    cfg,
                    "mirrors",
                    f"without '{lacking[0]}' of '{record.id}'",
                    f"'{lacking[0]}', which a mirrored pair needs",
                )
        return []

    def samples(self, row: Row) -> Iterable[Sample]:
        """The images and, where the row has them, its maps. Raises ImageFault where the images differ in size."""
        from cvflow.loading.map_tensors import (
            TENSORS,  # torchvision takes two seconds, and half of the stages read no sample
        )

        pixels = {name: decode(row[name], max_megapixels=self.max_megapixels) for name in self.schema.images}
        sizes = {image.shape[:2] for image in pixels.values()}
        if len(sizes) > 1:
            raise ImageFault(
                f"{' and '.join(pixels)} of different sizes: "
                + ", ".join(f"{w}x{h}" for h, w in sorted(sizes))
            )
        images = {name: torch.from_numpy(image).permute(2, 0, 1) for name, image in pixels.items()}
        maps = {
            name: KINDS[kind].decode(row[name])
            for name, kind in self.schema.kinds.items()
            if row.get(name) is not None
        }
        tensors = {
            name: torch.from_numpy(np.atleast_3d(array)).permute(2, 0, 1) for name, array in maps.items()
        }
        target = {name: TENSORS[self.schema.kinds[name]](tensor) for name, tensor in tensors.items()}
        yield Sample(
            row["id"],
            images,
            target,
            {self.answer: maps[self.answer]} if maps else {},
            swaps=self.swaps if maps else {},
        )

    def collate(self, samples: Sequence[Sample]) -> Batch:
        """The map alone: what else a mirrored sample needed has been of use."""
        return super().collate(
            [s.but(target={k: v for k, v in s.target.items() if k == self.answer}) for s in samples]
        )

    def _answers(self, model: nn.Module, batch: Batch) -> list[Tensor]:
        """BCHW each, from the coarsest to the last."""
        answers: list[Tensor] = model(*(batch.images[name] for name in self.schema.images))
        return answers

    def losses(self, model: nn.Module, batch: Batch) -> dict[str, Loss]:
        return self._losses(self._answers(model, batch), batch)

    def _losses(self, answers: Sequence[Tensor], batch: Batch) -> dict[str, Loss]:
        truth = batch.targets[self.answer]
        each = [self.loss(answer.float(), truth) for answer in answers]
        weights = [COARSER**i for i in reversed(range(len(each)))]
        return {
            "loss": Loss(
                torch.stack([w * loss.sum for w, loss in zip(weights, each, strict=True)]).sum(),
                each[-1].count,
            )
        }

    def forward(self, model: nn.Module, batch: Batch) -> Raw:
        """The map, BCHW, in pixels of the model's size."""
        return {self.answer: self._answers(model, batch)[-1].float()}

    def measure(self, model: nn.Module, batch: Batch) -> tuple[dict[str, Loss], Raw]:
        answers = self._answers(model, batch)
        return self._losses(answers, batch), {self.answer: answers[-1].float()}

    def merge(self, raws: Sequence[Raw], views: Sequence[Any]) -> Raw:
        """Averaged, each in the pixels of the whole image and not in those of what the view enlarged or mirrored."""
        return super().merge(
            [
                {k: _as_whole(map_BCHW, view) for k, map_BCHW in raw.items()}
                for raw, view in zip(raws, views, strict=True)
            ],
            views,
        )

    def decode(self, raw: Raw, batch: Batch) -> list[Prediction]:
        """At the originals' size, in their pixels."""
        maps = zip(batch.ids, raw[self.answer].cpu(), batch.placed, strict=True)
        return [
            Prediction(id, {self.answer: self.encode(placed.map_back(m) / _scale(m, placed.scale))})
            for id, m, placed in maps
        ]

    def encode(self, map_CHW: Tensor) -> bytes:
        """The canonical bytes."""
        array = map_CHW.permute(1, 2, 0).numpy()
        data: bytes = KINDS[self.schema.kinds[self.answer]].encode(
            array[..., 0] if array.shape[2] == 1 else array
        )
        return data

    def array(self, values: Mapping[str, Any]) -> NDArray[Any]:
        """The map in a prediction's values, a row's or a truth."""
        value = values[self.answer]
        return (
            KINDS[self.schema.kinds[self.answer]].decode(value)
            if isinstance(value, bytes)
            else np.asarray(value)
        )

    def metric(self, info: DatasetInfo) -> Metric:
        return EndpointMetric(self.answer, KINDS[self.schema.kinds[self.answer]].decode, self.shares)

    def guess(self, train: Iterable[Row]) -> Callable[[Sample], Mapping[str, Any]]:
        """The same everywhere: of each row the median of its known values, and of these the median, component by component."""
        medians = [np.nanmedian(np.atleast_3d(self.array(row)), axis=(0, 1)) for row in train]
        constant = torch.from_numpy(np.median(medians, axis=0).astype(np.float32)).view(-1, 1, 1)

        def answer(sample: Sample) -> Mapping[str, Any]:
            height, width = sample.images[self.schema.images[0]].shape[1:]
            return {self.answer: self.encode(constant.expand(-1, height, width))}

        return answer

    def quality(self, prediction: Prediction, target: Mapping[str, Any]) -> float:
        """Less the end-point error, pixels."""
        return -epe(self.array(prediction.values), self.array(target))


def _scale(map_CHW: Tensor, scale: tuple[float, float]) -> Tensor:
    """(x, y) of a placement's (y, x), as many as the map has channels."""
    return map_CHW.new_tensor([scale[1], scale[0]][: len(map_CHW)]).view(-1, 1, 1)


def _as_whole(map_BCHW: Tensor, view: Any) -> Tensor:
    top, left, bottom, right = view.box
    factors = [(right - left) * (-1 if view.mirrored else 1), bottom - top]
    return map_BCHW * map_BCHW.new_tensor(factors[: map_BCHW.shape[1]]).view(-1, 1, 1)
