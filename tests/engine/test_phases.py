"""Freezing, phases in a row, which weights become the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from cvflow.answers.classes import ClassAnswer
from cvflow.config import Recipe
from cvflow.dataset.prepared import PreparedDataset
from cvflow.engine.checkpoint import CheckpointStore
from cvflow.engine.history import read_history
from cvflow.engine.job import Job, make_job
from cvflow.engine.loop import train
from cvflow.engine.phases import Cursor
from cvflow.engine.phases.sgd import Sgd
from cvflow.engine.session import Session
from cvflow.metrics.classification import ClassificationMetric
from cvflow.stages.train import exported
from cvflow.tasks.classification import Classification

RESNET = {"name": "classifier", "backbone": {"name": "cifar_resnet", "depth": 20}}


def weights(store: CheckpointStore, step: int) -> dict[str, Tensor]:
    """The model as saved at a step."""
    return load_file(store.root / f"step-{step:09d}" / "model.safetensors")


def changed(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> set[str]:
    return {name for name in before if not torch.equal(before[name], after[name])}


def test_a_frozen_backbone_keeps_its_weights_and_batch_norm_averages(
    digits: PreparedDataset, recipe: Callable[..., Recipe], session: Callable[..., Session]
) -> None:
    one = session()
    chosen = recipe(RESNET, epochs=1, freeze="backbone", schedule="constant")
    job = train(chosen, digits, one)
    last = job.model.state_dict()
    assert changed(weights(one.checkpoints, 0), last) == {"head.weight", "head.bias"}
    assert [name for name, p in job.model.named_parameters() if p.requires_grad] == [
        "head.weight",
        "head.bias",
    ]


def test_two_phases_follow_each_other(
    digits: PreparedDataset, recipe: Callable[..., Recipe], session: Callable[..., Session]
) -> None:
    one = session()
    head = {"epochs": 1, "freeze": "backbone", "optimizer": {"name": "adamw", "lr": 0.01}}
    whole = {
        "epochs": 2,
        "optimizer": {"name": "sgd", "lr": 0.02},
        "schedule": {"name": "step", "milestones": [0.5]},
    }
    train(recipe(RESNET, phases=[head, whole], schedule="constant", batch_size=64), digits, one)
    steps = digits.info.counts["train"] // 64
    start, first, end = (weights(one.checkpoints, n * steps) for n in (0, 1, 3))
    assert changed(start, first) == {"head.weight", "head.bias"}
    assert {"backbone.conv1.weight", "backbone.bn1.running_mean", "head.weight"} <= changed(first, end)

    final = one.checkpoints.latest()
    assert final is not None
    stands = {key: final.state[key] for key in ("phase", "epoch", "epochs_done", "step")}
    assert stands == {"phase": 1, "epoch": 2, "epochs_done": 3, "step": 3 * steps}
    points = [p for _, p in read_history(one.checkpoints.root.parent / "history.jsonl")]
    assert [p.metrics["epoch"] for p in points if "epoch" in p.metrics] == [1, 2, 3]
    lrs = {p.step: p.metrics["lr"] for p in points if "lr" in p.metrics}
    assert [lrs[n * steps] for n in (1, 2, 3)] == pytest.approx(
        [0.01, 0.02, 0.002]
    )  # milestones are of their own phase


def test_no_epochs_keep_the_start(
    digits: PreparedDataset, recipe: Callable[..., Recipe], session: Callable[..., Session]
) -> None:
    one = session()
    chosen = recipe(epochs=0)
    start = make_job(chosen, digits, session("other")).model.state_dict()
    assert changed(start, train(chosen, digits, one).model.state_dict()) == set()
    for keep in ("best", "last"):
        assert changed(start, exported(one.checkpoints, recipe(epochs=0, keep=keep))) == set()


def test_the_seed_alone_decides(
    digits: PreparedDataset, recipe: Callable[..., Recipe], session: Callable[..., Session]
) -> None:
    def trained(name: str, seed: int) -> dict[str, Tensor]:
        torch.manual_seed(hash(name))  # what went before must not matter
        augment = ({"name": "random_crop", "padding": 1},)
        model = {"name": "classifier", "dropout": 0.3}
        state: dict[str, Tensor] = train(
            recipe(model, seed, epochs=1, augment=augment), digits, session(name)
        ).model.state_dict()
        return state

    one = trained("one", 0)
    assert changed(one, trained("two", 0)) == set()
    assert "head.weight" in changed(one, trained("three", 1))


class Scored(Classification):
    """Its accuracy on val is what the test says, epoch by epoch."""

    def __init__(self, scores: Sequence[float]) -> None:
        super().__init__()
        scripted = iter(scores)

        class Scripted(ClassificationMetric):
            def compute(self) -> dict[str, float]:
                return {"accuracy": next(scripted)}

        class ScriptedAnswer(ClassAnswer):
            def metric(self, info: Any) -> Any:
                return Scripted(info.classes)

        self.answer = ScriptedAnswer()


@pytest.mark.parametrize(
    ("scores", "best"),
    [
        ([0.1, 0.5, 0.3], 2),
        ([0.5, 0.5, 0.3], 2),  # of equals the longer trained
        ([0.2, 0.5, 0.5], 3),
        ([0.9, 0.5, 0.3], 1),
        ([0.2, float("nan"), 0.1], 1),  # no number is no score
        ([float("nan"), 0.1, float("nan")], 2),
    ],
)
def test_best_and_last(
    digits: PreparedDataset,
    recipe: Callable[..., Recipe],
    session: Callable[..., Session],
    scores: list[float],
    best: int,
) -> None:
    one = session()
    chosen = recipe(epochs=3)
    made = make_job(chosen, digits, one)
    task = Scored(scores)
    task.bind(digits.info)
    job = Job(chosen, task, digits, made.model, one)
    Sgd(job, chosen.train.plan()[0], Cursor(), None).run()
    steps = digits.info.counts["train"] // chosen.train.batch_size
    for keep, epoch in (("best", best), ("last", 3)):
        assert (
            changed(weights(one.checkpoints, epoch * steps), exported(one.checkpoints, recipe(keep=keep)))
            == set()
        )
