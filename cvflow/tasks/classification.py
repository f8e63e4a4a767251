"""Classification: one class an image, by softmax and cross-entropy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from cvflow.config import Recipe
from cvflow.data.images import decode
from cvflow.metrics.classification import ClassificationMetric
from cvflow.registry import build, register
from cvflow.tasks.base import BaseTask, Features, Metric, no_linear_layer
from cvflow.types import Batch, DatasetInfo, Loss, Objective, Prediction, Raw, Row, Sample, Schema


@register("task", "classification")
class Classification(BaseTask):
    """Rows carry ``label``, the index of the class, and ``weight``, >= 0; predictions give ``class`` and ``probabilities``."""

    schema = Schema(images=("image",), annotations={"label": "int32", "weight": "float32"}, stratify="label", defaults={"weight": 1.0})
    answers: Mapping[str, str] = {"class": "string", "probabilities": "list<float>"}

    def __init__(self, *, label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0) -> None:
        self.label_smoothing = label_smoothing

    def objective(self, cfg: Recipe) -> Objective:
        return Objective("accuracy", "max")

    def samples(self, row: Row) -> Iterable[Sample]:
        image = torch.from_numpy(decode(row["image"])).permute(2, 0, 1)
        yield Sample(row["id"], {"image": image}, {"label": torch.tensor(row["label"])} if "label" in row else {})

    def build(self, cfg: Recipe, info: DatasetInfo) -> nn.Module:
        model: nn.Module = build("model", cfg.model, cfg.image, info)
        return model

    def losses(self, model: nn.Module, batch: Batch) -> dict[str, Loss]:
        logits_BC = model(batch.images["image"])
        summed = F.cross_entropy(logits_BC, batch.targets["label"].long(), reduction="sum", label_smoothing=self.label_smoothing)
        return {"loss": Loss(summed, torch.tensor(len(batch), device=summed.device))}

    def forward(self, model: nn.Module, batch: Batch) -> Raw:
        """``probabilities`` B x classes."""
        logits: Tensor = model(batch.images["image"])
        return {"probabilities": logits.float().softmax(1)}

    def features(self, model: nn.Module, batch: Batch) -> Features:
        embed = getattr(model, "embed", None)
        if embed is None or not isinstance(getattr(model, "head", None), nn.Linear):
            raise no_linear_layer(model)
        label = batch.targets["label"].long()
        return Features(embed(batch.images["image"]), label, torch.ones_like(label, dtype=torch.float32))

    def set_head(self, model: nn.Module, weight: Tensor, bias: Tensor) -> None:
        if not isinstance(model.head, nn.Linear):
            raise no_linear_layer(model)
        with torch.no_grad():
            model.head.weight.copy_(weight)
            model.head.bias.copy_(bias)

    def decode(self, raw: Raw, batch: Batch) -> list[Prediction]:
        probabilities = raw["probabilities"].cpu()
        best = probabilities.argmax(1).tolist()
        rows = zip(batch.ids, best, probabilities.tolist(), strict=True)
        return [Prediction(id, {"class": self.info.classes[i], "probabilities": p}) for id, i, p in rows]

    def metric(self, info: DatasetInfo) -> Metric:
        return ClassificationMetric(info.classes)

    def quality(self, prediction: Prediction, target: Mapping[str, Any]) -> float:
        """The probability given to the true class."""
        return float(prediction.values["probabilities"][target["label"]])

    def caption(self, values: Mapping[str, Any]) -> str:
        if "label" in values:
            return self.info.classes[int(values["label"])]
        return f"{values['class']} {max(values['probabilities']):.0%}"
