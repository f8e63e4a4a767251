"""Classification: one class an image, by softmax and cross-entropy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal

import torch
from pydantic import Discriminator, Field, Tag
from torch import Tensor, nn
from torch.nn import functional as F

from cvflow.annotations.image import decode
from cvflow.config import Recipe
from cvflow.errors import Fault, RequestError, did_you_mean, one_of
from cvflow.metrics.classification import ClassificationMetric
from cvflow.registry import build, register
from cvflow.tasks.base import BaseTask, Features, Metric
from cvflow.tasks.refusals import no_linear_layer
from cvflow.tasks.starter import Seen, Starter, large
from cvflow.types import Batch, DatasetInfo, Loss, Objective, Prediction, Raw, Row, Sample, Schema

# The tags begin with "union-", which the faults of a recipe leave out of the field's path.
ClassName = Annotated[str, Field(coerce_numbers_to_str=True)]
ClassWeights = Annotated[
    Annotated[Literal["none", "balanced"], Tag("union-named")]
    | Annotated[dict[ClassName, Annotated[float, Field(ge=0)]], Tag("union-given")],
    Discriminator(lambda value: "union-given" if isinstance(value, dict) else "union-named"),
]


@register("task", "classification")
class Classification(BaseTask):
    """Rows carry ``label``, the index of the class, and ``weight``, >= 0; predictions give ``class`` and ``probabilities``.

    class_weights: how much a class counts in the loss, times the row's weight. balanced: the rarer in train, the more, 1 in the mean
    over its rows; or a weight by name, 1 for those not named.
    """

    schema = Schema(
        images=("image",),
        annotations={"label": "int32", "weight": "float32"},
        stratify="label",
        defaults={"weight": 1.0},
    )
    answers: Mapping[str, str] = {"class": "string", "probabilities": "list<float>"}
    answer, usual_model = "class", "classifier"
    quality_name = "the truth's share"

    def __init__(
        self,
        *,
        label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0,
        class_weights: ClassWeights = "none",
    ) -> None:
        self.label_smoothing, self.class_weights = label_smoothing, class_weights
        self.weight_C: Tensor | None = None

    def bind(self, info: DatasetInfo) -> None:
        super().bind(info)
        self.weight_C = weights_by_class(self.class_weights, info, "class_counts")

    def objective(self, cfg: Recipe) -> Objective:
        return Objective("accuracy", "max")

    def samples(self, row: Row) -> Iterable[Sample]:
        image = torch.from_numpy(decode(row["image"], max_megapixels=self.max_megapixels)).permute(2, 0, 1)
        yield Sample(
            row["id"],
            {"image": image},
            {name: torch.tensor(row[name]) for name in ("label", "weight") if name in row},
        )

    def build(self, cfg: Recipe, info: DatasetInfo) -> nn.Module:
        model: nn.Module = build("model", cfg.model, cfg.image, info)
        return model

    def losses(self, model: nn.Module, batch: Batch) -> dict[str, Loss]:
        return self._losses(model(batch.images["image"]), batch)

    def _losses(self, logits_BC: Tensor, batch: Batch) -> dict[str, Loss]:
        each_B = F.cross_entropy(
            logits_BC, batch.targets["label"].long(), reduction="none", label_smoothing=self.label_smoothing
        )
        weight_B = self.weights(batch)
        return {"loss": Loss((weight_B * each_B).sum(), weight_B.sum())}

    def weights(self, batch: Batch) -> Tensor:
        """B, how much each sample counts: its own weight times that of its class."""
        label = batch.targets["label"].long()
        own: Tensor = batch.targets.get("weight", torch.ones_like(label)).float()
        return own if self.weight_C is None else own * self.weight_C.to(label.device)[label]

    def forward(self, model: nn.Module, batch: Batch) -> Raw:
        """``probabilities`` B x classes."""
        return self._raw(model(batch.images["image"]))

    def _raw(self, logits_BC: Tensor) -> Raw:
        return {"probabilities": logits_BC.float().softmax(1)}

    def measure(self, model: nn.Module, batch: Batch) -> tuple[dict[str, Loss], Raw]:
        logits_BC = model(batch.images["image"])
        return self._losses(logits_BC, batch), self._raw(logits_BC)

    def features(self, model: nn.Module, batch: Batch) -> Features:
        embed = getattr(model, "embed", None)
        if embed is None or not isinstance(getattr(model, "head", None), nn.Linear):
            raise no_linear_layer(model)
        return Features(embed(batch.images["image"]), batch.targets["label"].long(), self.weights(batch))

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

    def right(self, prediction: Prediction, target: Mapping[str, Any]) -> bool:
        return bool(prediction.values["class"] == self.info.classes[int(target["label"])])

    def caption(self, values: Mapping[str, Any]) -> str:
        if "label" in values:
            return self.info.classes[int(values["label"])]
        return f"{values['class']} {max(values['probabilities']):.0%}"

    def starter(self, seen: Seen) -> Starter:
        backbone = {"name": "cifar_resnet", "depth": 20} if seen.small else large()
        crop = seen.shift() if seen.small else {"name": "random_resized_crop"}
        return {
            "image": {"resize": "stretch" if seen.small else "crop"},
            "model": {"backbone": backbone},
            "train": {"augment": [crop, "horizontal_flip"]},
        }

    def guess(self, train: Iterable[Row]) -> Callable[[Sample], Mapping[str, Any]]:
        """The most frequent class, with the shares of all as probabilities."""
        labels = Counter(int(row["label"]) for row in train)
        share = [labels[i] / labels.total() for i in range(len(self.info.classes))]
        return lambda _: {"class": self.info.classes[share.index(max(share))], "probabilities": share}


def weights_by_class(chosen: str | Mapping[str, float], info: DatasetInfo, counts: str) -> Tensor | None:
    """One weight a class, None where all are 1. RequestError where a class is named that there is not.

    counts: what the dataset's ``extra`` has them under, how often each class is in each split.
    """
    if isinstance(chosen, str):
        return (
            None
            if chosen == "none"
            else balanced([info.extra[counts]["train"][name] for name in info.classes])
        )
    unknown = [name for name in chosen if name not in info.classes]
    if unknown:
        faults = (
            Fault(
                "task.class_weights",
                f"'{n}'",
                f"a class: {one_of(info.classes)}",
                did_you_mean(n, info.classes),
            )
            for n in unknown
        )
        raise RequestError(*faults)
    return torch.tensor([chosen.get(name, 1.0) for name in info.classes])


def balanced(counts: Sequence[int]) -> Tensor:
    """all / (classes * those of the class)."""
    each = torch.tensor(counts, dtype=torch.float32)
    return each.sum() / (len(each) * each.clamp(min=1))
