"""A task and its answer as a plug-in: how much of something an image shows, one number, learnt by
regression.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cvflow.answers.base import BaseAnswer
from cvflow.registry import register
from cvflow.tasks.base import BaseTask, read_image
from cvflow.types import Batch, DatasetInfo, Loss, Prediction, Row, Sample, Schema


class AbsoluteError:
    """Mean absolute error, merged over workers as exact sums."""

    def __init__(self) -> None:
        self.errors: list[float] = []

    def update(self, predictions: Sequence[Prediction], targets: Sequence[Mapping[str, Any]]) -> None:
        for prediction, target in zip(predictions, targets, strict=True):
            self.errors.append(abs(prediction.values["amount"] - target["amount"]))

    def state(self) -> list[float]:
        return self.errors

    def merge(self, state: Sequence[float]) -> None:
        self.errors += state

    def compute(self) -> dict[str, float]:
        return {"mae": math.fsum(self.errors) / len(self.errors) if self.errors else math.nan}

    def details(self) -> dict[str, Any]:
        return {}


class AmountAnswer(BaseAnswer):
    """``amount``, a number."""

    name = "amount"
    columns = {"amount": "float"}
    figures = {"mae": "min"}
    quality_name = "-error"

    def metric(self, info: DatasetInfo) -> AbsoluteError:
        return AbsoluteError()

    def quality(self, prediction: Prediction, truth: Mapping[str, Any]) -> float:
        return -abs(float(prediction.values["amount"]) - float(truth["amount"]))

    def caption(self, values: Mapping[str, Any]) -> str:
        return f"{values['amount']:.2f}"


@register("task", "amount")
class Amount(BaseTask):
    """Rows carry ``amount``, a number; predictions give the same."""

    schema = Schema(images=("image",), annotations={"amount": "float32"})
    usual_model = "amount_net"

    def __init__(self) -> None:
        self.answer = AmountAnswer()

    def samples(self, row: Row) -> Iterable[Sample]:
        target = {"amount": torch.tensor(row["amount"])} if "amount" in row else {}
        yield Sample(row["id"], {"image": read_image(row["image"], self.max_megapixels)}, target)

    def outputs(self, model: nn.Module, batch: Batch) -> Tensor:
        amount_B: Tensor = model(batch.images["image"])
        return amount_B

    def losses(self, outputs: Tensor, batch: Batch) -> dict[str, Loss]:
        error = F.smooth_l1_loss(outputs, batch.targets["amount"], reduction="sum")
        return {"loss": Loss(error, torch.full_like(error.detach(), len(outputs)))}

    def raw(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        return {"amount": outputs.float()}

    def decode(self, raw: Mapping[str, Tensor], batch: Batch) -> list[Prediction]:
        amounts = raw["amount"].cpu().tolist()
        return [Prediction(id, {"amount": amount}) for id, amount in zip(batch.ids, amounts, strict=True)]
