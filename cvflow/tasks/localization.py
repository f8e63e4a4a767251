"""Localization: one class and one box an image."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import nn
from torch.nn import functional as F

from cvflow.annotations import box
from cvflow.answers.box import BoxAnswer
from cvflow.losses.box import BoxLoss, box_loss
from cvflow.registry import register
from cvflow.tasks.base import BaseTask, View, read_image
from cvflow.types import Batch, Loss, Outputs, Prediction, Raw, Row, Sample, Schema


@register("task", "localization")
class Localization(BaseTask):
    """Rows carry ``label`` and ``box``, xyxy in the image's pixels; predictions give ``class``,
    ``probabilities`` and ``box``.

    The loss is joint: cross-entropy, and box_weight times that of the box: ``giou``, or
    ``smooth_l1`` of its edges.
    """

    schema = Schema(
        images=("image",),
        annotations={"label": "int32", "box": "list<float>"},
        stratify="label",
        kinds={"box": "box"},
    )
    usual_model = "localizer"

    def __init__(
        self, *, box_loss: BoxLoss = "giou", box_weight: Annotated[float, Field(ge=0)] = 1.0
    ) -> None:
        self.answer = BoxAnswer()
        self.box_loss: BoxLoss = box_loss
        self.box_weight = box_weight

    def samples(self, row: Row) -> Iterable[Sample]:
        # torchvision takes two seconds to import, and half of the stages read no sample
        from torchvision.tv_tensors import BoundingBoxes

        image = read_image(row["image"], self.max_megapixels)
        sample = Sample(row["id"], {"image": image})
        if "box" in row:
            edges_14 = torch.from_numpy(box.decode(row["box"]))[None]
            size = (image.shape[1], image.shape[2])
            boxes = BoundingBoxes(edges_14, format="XYXY", canvas_size=size)
            sample.target = {"label": torch.tensor(row["label"]), "box": boxes}
        yield sample

    def outputs(self, model: nn.Module, batch: Batch) -> Outputs:
        """Return ``logits``, B x classes, and ``boxes``, B x 4, xyxy in 0..1 of what the model sees."""
        return model(batch.images["image"])

    def losses(self, outputs: Outputs, batch: Batch) -> dict[str, Loss]:
        height, width = batch.images["image"].shape[2:]
        label_B = batch.targets["label"].long()
        box_B4 = batch.targets["box"][:, 0]
        size_4 = box_B4.new_tensor([width, height, width, height])
        class_loss = F.cross_entropy(outputs["logits"].float(), label_B, reduction="sum")
        edge_loss = box_loss(self.box_loss, outputs["boxes"], box_B4 / size_4)
        count = torch.full_like(class_loss.detach(), len(label_B))
        return {
            "class_loss": Loss(class_loss, count),
            "box_loss": Loss(self.box_weight * edge_loss.sum, edge_loss.count),
        }

    def raw(self, outputs: Outputs, batch: Batch) -> Raw:
        """Return ``probabilities``, B x classes, and ``boxes``, B x 4, xyxy in 0..1 of what the
        model sees.
        """
        return {"probabilities": outputs["logits"].float().softmax(1), "boxes": outputs["boxes"].float()}

    def merge(self, raws: Sequence[Raw], views: Sequence[View]) -> Raw:
        """Average, the boxes where they lie in the whole image."""
        boxes = []
        for raw, view in zip(raws, views, strict=True):
            boxes.append(view.place.back(view.place.size).boxes(raw["boxes"]))
        probabilities = torch.stack([raw["probabilities"] for raw in raws]).mean(0)
        return {"probabilities": probabilities, "boxes": torch.stack(boxes).mean(0)}

    def decode(self, raw: Raw, batch: Batch) -> list[Prediction]:
        height, width = batch.images["image"].shape[2:]
        boxes_B4 = raw["boxes"].cpu() * torch.tensor([width, height, width, height])
        probabilities = raw["probabilities"].cpu().tolist()
        predictions = []
        for id, shares, box_4, place in zip(batch.ids, probabilities, boxes_B4, batch.placed, strict=True):
            values = {
                "class": self.info.classes[int(np.argmax(shares))],
                "probabilities": shares,
                "box": place.boxes_back(box_4[None])[0].tolist(),
            }
            predictions.append(Prediction(id, values))
        return predictions
