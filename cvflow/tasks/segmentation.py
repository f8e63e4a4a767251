"""Semantic segmentation: a class for each pixel."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from cvflow.annotations import mask
from cvflow.annotations.image import Pixels, decode
from cvflow.config import Recipe
from cvflow.formats.reading.mask_legend import VOID_NAMES
from cvflow.losses.pixel import dice, pixel_cross_entropy
from cvflow.metrics.segmentation import SegmentationMetric, confusion, mean_iou
from cvflow.registry import register
from cvflow.tasks.base import BaseTask, Metric
from cvflow.tasks.classification import ClassWeights, weights_by_class
from cvflow.tasks.starter import Seen, Starter, large, of_maps
from cvflow.types import Batch, DatasetInfo, Loss, Objective, Prediction, Raw, Row, Sample, Schema

BACKGROUND = {"background", *VOID_NAMES}
"""Names of classes that are drawn in no colour."""


@register("task", "segmentation")
class Segmentation(BaseTask):
    """Rows carry ``mask``, class indices in an 8-bit PNG, 255 = void; predictions give the same, at the image's own size.

    class_weights: how much a pixel of a class counts in the loss. balanced: the rarer its pixels in train, the more, 1 in the mean over
    them; or a weight by name, 1 for those not named. dice: weight of a second loss, the overlap of each class, which small ones weigh in.
    """

    schema = Schema(images=("image",), annotations={"mask": "binary"}, kinds={"mask": "mask"})
    answers: Mapping[str, str] = {"mask": "binary"}
    answer, usual_model = "mask", "unet"
    quality_name = "mean IoU of the image"

    def __init__(
        self, *, class_weights: ClassWeights = "none", dice: Annotated[float, Field(ge=0)] = 0.0
    ) -> None:
        self.class_weights, self.dice = class_weights, dice
        self.weight_C: Tensor | None = None

    def bind(self, info: DatasetInfo) -> None:
        super().bind(info)
        self.weight_C = weights_by_class(self.class_weights, info, "pixel_counts")

    def objective(self, cfg: Recipe) -> Objective:
        return Objective("miou", "max")

    def samples(self, row: Row) -> Iterable[Sample]:
        from torchvision.tv_tensors import (
            Mask,  # torchvision takes two seconds, and half of the stages read no sample
        )

        image = torch.from_numpy(decode(row["image"], max_megapixels=self.max_megapixels)).permute(2, 0, 1)
        if "mask" not in row:
            yield Sample(row["id"], {"image": image})
            return
        labels = mask.decode(row["mask"])
        yield Sample(row["id"], {"image": image}, {"mask": Mask(torch.from_numpy(labels))}, {"mask": labels})

    def losses(self, model: nn.Module, batch: Batch) -> dict[str, Loss]:
        return self._losses(model, model.outputs(batch.images["image"]), batch)  # type: ignore[operator]

    def _losses(self, model: Any, outputs: Mapping[str, Tensor], batch: Batch) -> dict[str, Loss]:
        labels = batch.targets["mask"]
        weight_C = None if self.weight_C is None else self.weight_C.to(labels.device)
        losses = {name: pixel_cross_entropy(logits, labels, weight_C) for name, logits in outputs.items()}
        losses = {
            name: Loss(model.loss_weights.get(name, 1.0) * loss.sum, loss.count)
            for name, loss in losses.items()
        }
        if self.dice:
            overlap = dice(outputs["loss"], labels)
            losses["dice_loss"] = Loss(self.dice * overlap.sum, overlap.count)
        return losses

    def forward(self, model: nn.Module, batch: Batch) -> Raw:
        """``probabilities`` B x classes x H x W."""
        return self._raw(model(batch.images["image"]))

    def _raw(self, logits_BCHW: Tensor) -> Raw:
        return {"probabilities": logits_BCHW.float().softmax(1)}

    def measure(self, model: nn.Module, batch: Batch) -> tuple[dict[str, Loss], Raw]:
        outputs = model.outputs(batch.images["image"])  # type: ignore[operator]
        return self._losses(model, outputs, batch), self._raw(outputs["loss"])

    def decode(self, raw: Raw, batch: Batch) -> list[Prediction]:
        """Probabilities are interpolated to the image's own size; the greatest one names the pixel."""
        found = zip(batch.ids, raw["probabilities"].cpu(), batch.placed, strict=True)
        return [
            Prediction(id, {"mask": mask.encode(placed.labels_back(maps).numpy())})
            for id, maps, placed in found
        ]

    def metric(self, info: DatasetInfo) -> Metric:
        return SegmentationMetric(info.classes, mask.decode)

    def quality(self, prediction: Prediction, target: Mapping[str, Any]) -> float:
        """Over the classes that are in the image, or in the answer."""
        return mean_iou(
            confusion(target["mask"], mask.decode(prediction.values["mask"]), len(self.info.classes))
        )

    def caption(self, values: Mapping[str, Any]) -> str:
        """The three classes with the most pixels."""
        counts = mask.count(mask.decode(values["mask"]))[: len(self.info.classes)]
        most = [i for i in np.argsort(-counts, kind="stable")[:3] if counts[i]]
        return (
            ", ".join(f"{self.info.classes[i]} {counts[i] / counts.sum():.0%}" for i in most)
            or "nothing known"
        )

    def draw(self, image: Pixels, answer: Mapping[str, Any]) -> Pixels:
        from cvflow.draw.annotated import overlaid

        clear = [i for i, name in enumerate(self.info.classes) if name.lower() in BACKGROUND]
        return overlaid(image, mask.decode(answer["mask"]), clear)

    def files(self, prediction: Prediction) -> Mapping[str, bytes]:
        return {".png": prediction.values["mask"]}

    def starter(self, seen: Seen) -> Starter:
        backbone = {"name": "unet", "width": 16, "levels": 4} if seen.small else large()
        return of_maps(seen, {"name": "unet", "backbone": backbone}, 16, "horizontal_flip")

    def guess(self, train: Iterable[Row]) -> Callable[[Sample], Mapping[str, Any]]:
        """The class with the most pixels, everywhere."""
        counts = sum(mask.count(mask.decode(row["mask"])) for row in train)[: len(self.info.classes)]  # type: ignore[index]
        most = int(np.argmax(counts))
        return lambda sample: {"mask": mask.encode(np.full(sample.images["image"].shape[1:], most, np.uint8))}
