"""Semantic segmentation: a class for each pixel."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

from cvflow.annotations import mask
from cvflow.answers.mask import MaskAnswer
from cvflow.losses.pixel import dice, pixel_cross_entropy
from cvflow.registry import register
from cvflow.tasks.base import BaseTask, read_image
from cvflow.tasks.classification import ClassWeights, weights_by_class
from cvflow.types import Batch, DatasetInfo, Loss, Outputs, Prediction, Raw, Row, Sample, Schema

MAIN = "loss"
"""The loss of the logits that are the answer; the others are of auxiliary heads."""


class SegmentationOutputs(NamedTuple):
    """logits: name of a loss -> B x classes x H x W. loss_weights: how much each loss counts, 1 if
    not named.
    """

    logits: Mapping[str, Tensor]
    loss_weights: Mapping[str, float]


@register("task", "segmentation")
class Segmentation(BaseTask):
    """Rows carry ``mask``, class indices in an 8-bit PNG, 255 = void; predictions give the same, at
    the image's own size.

    class_weights: how much a pixel of a class counts in the loss. balanced: the rarer its pixels in
    train, the more, 1 in the mean over them; or a weight by name, 1 for those not named. dice:
    weight of a second loss, the overlap of each class, which small ones weigh in.
    """

    schema = Schema(images=("image",), annotations={"mask": "binary"}, kinds={"mask": "mask"})
    usual_model = "unet"

    def __init__(
        self, *, class_weights: ClassWeights = "none", dice: Annotated[float, Field(ge=0)] = 0.0
    ) -> None:
        self.answer = MaskAnswer()
        self.class_weights = class_weights
        self.dice = dice
        self.weight_C: Tensor | None = None

    def bind(self, info: DatasetInfo) -> None:
        super().bind(info)
        self.weight_C = weights_by_class(self.class_weights, info, "pixel_counts")

    def samples(self, row: Row) -> Iterable[Sample]:
        # torchvision takes two seconds to import, and half of the stages read no sample
        from torchvision.tv_tensors import Mask

        image = read_image(row["image"], self.max_megapixels)
        target = {"mask": Mask(torch.from_numpy(mask.decode(row["mask"])))} if "mask" in row else {}
        yield Sample(row["id"], {"image": image}, target)

    def outputs(self, model: nn.Module, batch: Batch) -> Outputs:
        """Return the ``SegmentationOutputs``.

        Auxiliary heads, which only losses read, run only if there is a target.
        """
        image_BCHW = batch.images["image"]
        if "mask" not in batch.targets:
            return SegmentationOutputs({MAIN: model(image_BCHW)}, {})
        logits: dict[str, Tensor] = model.outputs(image_BCHW)  # type: ignore[operator]
        return SegmentationOutputs(logits, model.loss_weights)  # type: ignore[arg-type]

    def losses(self, outputs: Outputs, batch: Batch) -> dict[str, Loss]:
        labels_BHW = batch.targets["mask"]
        weight_C = None if self.weight_C is None else self.weight_C.to(labels_BHW.device)
        losses = {}
        for name, logits_BCHW in outputs.logits.items():
            loss = pixel_cross_entropy(logits_BCHW, labels_BHW, weight_C)
            losses[name] = Loss(outputs.loss_weights.get(name, 1.0) * loss.sum, loss.count)
        if self.dice:
            overlap = dice(outputs.logits[MAIN], labels_BHW)
            losses["dice_loss"] = Loss(self.dice * overlap.sum, overlap.count)
        return losses

    def raw(self, outputs: Outputs, batch: Batch) -> Raw:
        """Return ``probabilities``, B x classes x H x W."""
        return {"probabilities": outputs.logits[MAIN].float().softmax(1)}

    def decode(self, raw: Raw, batch: Batch) -> list[Prediction]:
        """Probabilities are interpolated to the image's own size; the greatest one names the pixel."""
        predictions = []
        for id, maps_CHW, place in zip(batch.ids, raw["probabilities"].cpu(), batch.placed, strict=True):
            labels_HW = place.labels(maps_CHW).numpy()
            predictions.append(Prediction(id, {"mask": mask.encode(labels_HW)}))
        return predictions
