"""Classification: one class an image, by softmax and cross-entropy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Literal

import torch
from pydantic import Discriminator, Field, Tag
from torch import Tensor, nn
from torch.nn import functional as F

from cvflow.answers.classes import ClassAnswer
from cvflow.config import Recipe
from cvflow.errors import Fault, RequestError, did_you_mean, one_of
from cvflow.registry import build, register
from cvflow.tasks.base import BaseTask, Features, no_linear_layer, read_image
from cvflow.types import Batch, DatasetInfo, Loss, Outputs, Prediction, Raw, Row, Sample, Schema

HEAD = "class"
"""The name of the one linear problem that a ``fit`` phase solves."""

# The tags begin with "union-", which the faults of a recipe leave out of the field's path.
ClassName = Annotated[str, Field(coerce_numbers_to_str=True)]
ClassWeights = Annotated[
    Annotated[Literal["none", "balanced"], Tag("union-named")]
    | Annotated[dict[ClassName, Annotated[float, Field(ge=0)]], Tag("union-given")],
    Discriminator(lambda value: "union-given" if isinstance(value, dict) else "union-named"),
]


@register("task", "classification")
class Classification(BaseTask):
    """Rows carry ``label``, the index of the class, and ``weight``, >= 0; predictions give
    ``class`` and ``probabilities``.

    class_weights: how much a class counts in the loss, times the row's weight. balanced: the rarer
    in train, the more, 1 in the mean over its rows; or a weight by name, 1 for those not named.
    """

    schema = Schema(
        images=("image",),
        annotations={"label": "int32", "weight": "float32"},
        stratify="label",
        defaults={"weight": 1.0},
    )
    usual_model = "classifier"

    def __init__(
        self,
        *,
        label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0,
        class_weights: ClassWeights = "none",
    ) -> None:
        self.answer = ClassAnswer()
        self.label_smoothing = label_smoothing
        self.class_weights = class_weights
        self.weight_C: Tensor | None = None

    def bind(self, info: DatasetInfo) -> None:
        super().bind(info)
        self.weight_C = weights_by_class(self.class_weights, info, "class_counts")

    def samples(self, row: Row) -> Iterable[Sample]:
        image = read_image(row["image"], self.max_megapixels)
        target = {name: torch.tensor(row[name]) for name in ("label", "weight") if name in row}
        yield Sample(row["id"], {"image": image}, target)

    def build(self, cfg: Recipe, info: DatasetInfo) -> nn.Module:
        # A model that does not say what it gives is taken for a classifier.
        model: nn.Module = build("model", cfg.model, cfg.image, info)
        return model

    def outputs(self, model: nn.Module, batch: Batch) -> Outputs:
        """Return the logits, B x classes."""
        return model(batch.images["image"])

    def losses(self, outputs: Outputs, batch: Batch) -> dict[str, Loss]:
        label_B = batch.targets["label"].long()
        loss_B = F.cross_entropy(outputs, label_B, reduction="none", label_smoothing=self.label_smoothing)
        weight_B = self.weights(batch)
        return {"loss": Loss((weight_B * loss_B).sum(), weight_B.sum())}

    def weights(self, batch: Batch) -> Tensor:
        """Return how much each sample counts, B: its own weight times that of its class."""
        label_B = batch.targets["label"].long()
        weight_B: Tensor = batch.targets.get("weight", torch.ones_like(label_B)).float()
        if self.weight_C is None:
            return weight_B
        return weight_B * self.weight_C.to(label_B.device)[label_B]

    def raw(self, outputs: Outputs, batch: Batch) -> Raw:
        """Return ``probabilities``, B x classes."""
        return {"probabilities": outputs.float().softmax(1)}

    def problems(self, model: nn.Module, batch: Batch) -> dict[str, Features]:
        embed = getattr(model, "embed", None)
        if embed is None or not isinstance(getattr(model, "head", None), nn.Linear):
            raise no_linear_layer(model)
        label_B = batch.targets["label"].long()
        return {HEAD: Features(embed(batch.images["image"]), label_B, self.weights(batch))}

    def num_classes(self, name: str) -> int:
        return len(self.info.classes)

    def set_linear(self, model: nn.Module, name: str, weight: Tensor, bias: Tensor) -> None:
        if not isinstance(model.head, nn.Linear):
            raise no_linear_layer(model)
        with torch.no_grad():
            model.head.weight.copy_(weight)
            model.head.bias.copy_(bias)

    def decode(self, raw: Raw, batch: Batch) -> list[Prediction]:
        probabilities = raw["probabilities"].cpu()
        best = probabilities.argmax(1).tolist()
        predictions = []
        for id, label, shares in zip(batch.ids, best, probabilities.tolist(), strict=True):
            predictions.append(Prediction(id, {"class": self.info.classes[label], "probabilities": shares}))
        return predictions


def weights_by_class(chosen: str | Mapping[str, float], info: DatasetInfo, counts: str) -> Tensor | None:
    """Return one weight for each class; None if all are 1.

    RequestError if a class is named that the dataset lacks.

    counts: the key of the dataset's ``extra`` that says how often each class is in each split.
    """
    if isinstance(chosen, str):
        if chosen == "none":
            return None
        train_counts = info.extra[counts]["train"]
        return balanced([train_counts[name] for name in info.classes])
    faults = []
    for name in chosen:
        if name not in info.classes:
            expected = f"a class: {one_of(info.classes)}"
            faults.append(
                Fault("task.class_weights", f"'{name}'", expected, did_you_mean(name, info.classes))
            )
    if faults:
        raise RequestError(*faults)
    return torch.tensor([chosen.get(name, 1.0) for name in info.classes])


def balanced(counts: Sequence[int]) -> Tensor:
    """Return all / (number of classes * those of the class), for each class."""
    count_C = torch.tensor(counts, dtype=torch.float32)
    return count_C.sum() / (len(count_C) * count_C.clamp(min=1))
