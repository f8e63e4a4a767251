"""Localization: one class and one box an image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from cvflow.annotations import box
from cvflow.annotations.image import Pixels, decode
from cvflow.config import Recipe
from cvflow.losses.box import BoxLoss, box_loss
from cvflow.metrics.localization import FOUND, LocalizationMetric, iou
from cvflow.registry import register
from cvflow.tasks.base import BaseTask, Metric
from cvflow.tasks.starter import Seen, Starter, large, of_maps
from cvflow.types import Batch, DatasetInfo, Loss, Objective, Prediction, Raw, Row, Sample, Schema


@register("task", "localization")
class Localization(BaseTask):
    """Rows carry ``label`` and ``box``, xyxy in the image's pixels; predictions give ``class``, ``probabilities`` and ``box``.

    The loss is joint: cross-entropy, and box_weight times that of the box: ``giou``, or ``smooth_l1`` of its edges.
    """

    schema = Schema(
        images=("image",),
        annotations={"label": "int32", "box": "list<float>"},
        stratify="label",
        kinds={"box": "box"},
    )
    answers: Mapping[str, str] = {"class": "string", "probabilities": "list<float>", "box": "list<float>"}
    answer, usual_model = "box", "localizer"
    quality_name = "IoU"

    def __init__(
        self, *, box_loss: BoxLoss = "giou", box_weight: Annotated[float, Field(ge=0)] = 1.0
    ) -> None:
        self.box_loss: BoxLoss = box_loss
        self.box_weight = box_weight

    def objective(self, cfg: Recipe) -> Objective:
        return Objective("accuracy", "max")

    def samples(self, row: Row) -> Iterable[Sample]:
        from torchvision.tv_tensors import (
            BoundingBoxes,  # torchvision takes two seconds, and half of the stages read no sample
        )

        image = torch.from_numpy(decode(row["image"], max_megapixels=self.max_megapixels)).permute(2, 0, 1)
        sample = Sample(row["id"], {"image": image})
        if "box" in row:
            edges = box.decode(row["box"])
            size = (image.shape[1], image.shape[2])
            sample.target = {
                "label": torch.tensor(row["label"]),
                "box": BoundingBoxes(torch.from_numpy(edges)[None], format="XYXY", canvas_size=size),
            }
            sample.truth = {"box": edges}
        yield sample

    def losses(self, model: nn.Module, batch: Batch) -> dict[str, Loss]:
        return self._losses(model(batch.images["image"]), batch)

    def _losses(self, outputs: Mapping[str, Tensor], batch: Batch) -> dict[str, Loss]:
        height, width = batch.images["image"].shape[2:]
        label_B, box_B4 = batch.targets["label"].long(), batch.targets["box"][:, 0]
        named = F.cross_entropy(outputs["logits"].float(), label_B, reduction="sum")
        placed = box_loss(
            self.box_loss, outputs["boxes"], box_B4 / box_B4.new_tensor([width, height, width, height])
        )
        count = torch.full_like(named.detach(), len(label_B))
        return {
            "class_loss": Loss(named, count),
            "box_loss": Loss(self.box_weight * placed.sum, placed.count),
        }

    def forward(self, model: nn.Module, batch: Batch) -> Raw:
        """``probabilities`` B x classes; ``boxes`` B x 4, xyxy in 0..1 of what the model sees."""
        return self._raw(model(batch.images["image"]))

    def _raw(self, outputs: Mapping[str, Tensor]) -> Raw:
        return {"probabilities": outputs["logits"].float().softmax(1), "boxes": outputs["boxes"].float()}

    def measure(self, model: nn.Module, batch: Batch) -> tuple[dict[str, Loss], Raw]:
        outputs = model(batch.images["image"])
        return self._losses(outputs, batch), self._raw(outputs)

    def merge(self, raws: Sequence[Raw], views: Sequence[Any]) -> Raw:
        """Averaged, the boxes as they lie in the whole image."""
        boxes = [whole(raw["boxes"], view.box, view.mirrored) for raw, view in zip(raws, views, strict=True)]
        return {
            "probabilities": torch.stack([raw["probabilities"] for raw in raws]).mean(0),
            "boxes": torch.stack(boxes).mean(0),
        }

    def decode(self, raw: Raw, batch: Batch) -> list[Prediction]:
        height, width = batch.images["image"].shape[2:]
        probabilities, boxes = (
            raw["probabilities"].cpu(),
            raw["boxes"].cpu() * torch.tensor([width, height, width, height]),
        )
        found = zip(batch.ids, probabilities.tolist(), boxes, batch.placed, strict=True)
        return [
            Prediction(
                id,
                {
                    "class": self.info.classes[int(np.argmax(p))],
                    "probabilities": p,
                    "box": at.box_back(b[None])[0].tolist(),
                },
            )
            for id, p, b, at in found
        ]

    def metric(self, info: DatasetInfo) -> Metric:
        return LocalizationMetric(info.classes)

    def quality(self, prediction: Prediction, target: Mapping[str, Any]) -> float:
        return iou(prediction.values["box"], target["box"])

    def right(self, prediction: Prediction, target: Mapping[str, Any]) -> bool:
        return (
            self.caption(target) == prediction.values["class"] and self.quality(prediction, target) >= FOUND
        )

    def caption(self, values: Mapping[str, Any]) -> str:
        if "label" in values:
            return self.info.classes[int(values["label"])]
        return f"{values['class']} {max(values['probabilities']):.0%}"

    def draw(self, image: Pixels, answer: Mapping[str, Any]) -> Pixels:
        from cvflow.draw.annotated import boxed

        return boxed(image, answer["box"], self.caption(answer))

    def starter(self, seen: Seen) -> Starter:
        backbone = {"name": "unet", "width": 16, "levels": 4} if seen.small else large(output_stride=16)
        return of_maps(seen, {"name": "localizer", "backbone": backbone}, 32, "horizontal_flip")

    def guess(self, train: Iterable[Row]) -> Callable[[Sample], Mapping[str, Any]]:
        """The most frequent class, and the mean of all boxes by their shares of width and height."""
        labels, boxes = Counter[int](), []
        for row in train:
            (sample,) = self.samples(row)
            labels[int(row["label"])] += 1
            boxes.append(box.decode(row["box"]) / edges_of(sample))
        share, mean = (
            [labels[i] / labels.total() for i in range(len(self.info.classes))],
            np.mean(boxes, axis=0),
        )
        name = self.info.classes[int(np.argmax(share))]
        return lambda sample: {
            "class": name,
            "probabilities": share,
            "box": (mean * edges_of(sample)).tolist(),
        }


def edges_of(sample: Sample) -> box.Box:
    """(width, height, width, height) in pixels."""
    height, width = sample.images["image"].shape[1:]
    return np.array([width, height, width, height], np.float32)


def whole(boxes_B4: Tensor, part: tuple[float, float, float, float], mirrored: bool) -> Tensor:
    """Boxes in 0..1 of a view, in 0..1 of the whole image. part: top, left, bottom, right of the view."""
    left, up, right, down = boxes_B4.unbind(1)
    if mirrored:
        left, right = 1 - right, 1 - left
    top, near, bottom, far = part
    across, along = far - near, bottom - top
    return torch.stack([near + across * left, top + along * up, near + across * right, top + along * down], 1)
