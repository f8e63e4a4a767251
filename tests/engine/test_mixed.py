"""Losses of mixed images: of both targets by their shares, the network run once; a whole training on them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cvflow.config import Recipe
from cvflow.dataset.prepared import PreparedDataset
from cvflow.engine.history import read_history
from cvflow.engine.loop import train
from cvflow.engine.session import Session
from cvflow.engine.step import Step
from cvflow.tasks.classification import Classification
from cvflow.types import Batch, Mixed


class Counting(nn.Module):
    """Some logits, and how often they were asked for."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.head, self.dropout, self.calls = nn.Linear(12, 4), nn.Dropout(0.5), 0

    def forward(self, images: Tensor) -> Tensor:
        self.calls += 1
        logits: Tensor = self.dropout(self.head(images.flatten(1) / 255))
        return logits


@pytest.fixture
def batch() -> Batch:
    images = torch.randint(
        0, 256, (3, 3, 2, 2), generator=torch.Generator().manual_seed(1), dtype=torch.uint8
    )
    mixed = Mixed({"label": torch.tensor([2, 3, 0])}, torch.tensor(0.3))
    return Batch(["a", "b", "c"], {"image": images}, {"label": torch.tensor([0, 1, 2])}, mixed)


def test_the_loss_is_shared_between_both_targets(batch: Batch) -> None:
    model = Counting()
    torch.manual_seed(1)
    loss = Step(model, Classification(label_smoothing=0.1))(batch)["loss"]
    torch.manual_seed(1)
    logits = model(batch.images["image"])
    own, other = (
        F.cross_entropy(logits, torch.tensor(y), label_smoothing=0.1, reduction="sum")
        for y in ([0, 1, 2], [2, 3, 0])
    )
    torch.testing.assert_close(loss.sum, 0.3 * own + 0.7 * other)
    assert float(loss.count) == pytest.approx(3)
    assert model.calls == 2  # once in the step, once here
    loss.sum.backward()
    assert model.head.weight.grad is not None


@pytest.mark.parametrize(
    "mix", [{"name": "mixup", "alpha": 0.4}, {"name": "cutmix", "p": 0.5}], ids=lambda mix: mix["name"]
)
def test_a_training_on_mixed_images_learns(
    digits: PreparedDataset,
    recipe: Callable[..., Recipe],
    session: Callable[..., Session],
    mix: dict[str, object],
) -> None:
    one = session()
    train(
        recipe(epochs=8, batch_size=16, optimizer={"name": "adamw", "lr": 0.003}, mix=mix, accumulate=2),
        digits,
        one,
    )
    points = [p.metrics for _, p in read_history(one.checkpoints.root.parent / "history.jsonl")]
    accuracy = [p["val_accuracy"] for p in points if "val_accuracy" in p]
    assert accuracy[-1] > 0.6
