"""Classification against torch and scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score, log_loss, top_k_accuracy_score
from torch import nn
from torch.nn import functional as F

from cvflow.annotations.image import encode_png
from cvflow.answers.base import objective_of
from cvflow.config import Compute, Recipe, SplitRule
from cvflow.dataset.prepare import prepare
from cvflow.dataset.prepared import PreparedDataset
from cvflow.engine.checkpoint import CheckpointStore
from cvflow.engine.evaluate import Evaluation, evaluate
from cvflow.engine.job import Job, make_job
from cvflow.errors import RequestError
from cvflow.registry import Component, build, check
from cvflow.runtime.console import Console
from cvflow.runtime.local import LocalSession
from cvflow.tasks.classification import Classification
from cvflow.types import Batch, DatasetInfo, Objective, Prediction
from tests.fixtures.tasks import losses_of, raw_of

CLASSES = ("ant", "bee", "cat", "dog")


@pytest.fixture
def task() -> Classification:
    return bound(Classification())


def bound(task: Classification) -> Classification:
    task.bind(DatasetInfo("classification", CLASSES, {}, (0.5,), (0.5,), ""))
    return task


class Linear(nn.Module):
    """Some logits from 2x2 images."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.head = nn.Linear(12, len(CLASSES))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(images.flatten(1) / 255)


@pytest.fixture
def batch() -> Batch:
    images = torch.randint(
        0, 256, (6, 3, 2, 2), generator=torch.Generator().manual_seed(1), dtype=torch.uint8
    )
    labels = torch.tensor([0, 1, 2, 3, 3, 1], dtype=torch.int32)
    return Batch([f"id{i}" for i in range(6)], {"image": images}, {"label": labels})


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_torch_s_cross_entropy_as_sum_and_count(batch: Batch, smoothing: float) -> None:
    task, model = bound(Classification(label_smoothing=smoothing)), Linear()
    losses = losses_of(task, model, batch)
    assert list(losses) == ["loss"]
    mean = nn.CrossEntropyLoss(label_smoothing=smoothing)(
        model(batch.images["image"]), batch.targets["label"].long()
    )
    assert losses["loss"].count.item() == 6
    assert (losses["loss"].sum / losses["loss"].count).item() == pytest.approx(mean.item(), rel=1e-6)
    assert losses["loss"].sum.requires_grad


def test_smoothing_by_hand(batch: Batch) -> None:
    """0.9 on the true class and 0.1 spread over all."""
    model = Linear()
    smoothed = losses_of(bound(Classification(label_smoothing=0.1)), model, batch)["loss"].sum
    wanted = 0.9 * F.one_hot(batch.targets["label"].long(), len(CLASSES)) + 0.1 / len(CLASSES)
    assert smoothed.item() == pytest.approx(
        -(wanted * model(batch.images["image"]).log_softmax(1)).sum().item(), rel=1e-6
    )


def weighted(chosen: Any, counts: tuple[int, ...] = (1, 2, 3, 4)) -> Classification:
    task: Classification = build("task", Component(name="classification", class_weights=chosen))
    extra = {"class_counts": {"train": dict(zip(CLASSES, counts, strict=True))}}
    task.bind(DatasetInfo("classification", CLASSES, {}, (0.5,), (0.5,), "", extra))
    return task


def test_weights_of_rows_and_classes_weigh_sum_and_count(batch: Batch) -> None:
    model, own = Linear(), torch.tensor([0.0, 0.5, 1, 1, 2, 3])
    batch.targets["weight"] = own
    task = weighted({"bee": 2.0, "dog": 0.0})
    each = F.cross_entropy(model(batch.images["image"]), batch.targets["label"].long(), reduction="none")
    weights = own * torch.tensor([1, 2, 1, 0, 0, 2])  # labels 0 1 2 3 3 1
    loss = losses_of(task, model, batch)["loss"]
    torch.testing.assert_close(loss.sum, (weights * each).sum())
    assert loss.count.item() == weights.sum().item() == 8
    torch.testing.assert_close(task.weights(batch), weights)


def test_balanced_classes_weigh_alike_and_one_in_the_mean(batch: Batch) -> None:
    weight = weighted("balanced", (8, 4, 2, 2)).weight_C
    assert weight is not None
    assert weight.tolist() == [0.5, 1, 2, 2]
    assert (weight * torch.tensor([8, 4, 2, 2])).sum() == 16
    assert weighted("none").weight_C is None


def test_balanced_is_torch_s_weighted_cross_entropy(batch: Batch) -> None:
    task, model = weighted("balanced"), Linear()
    loss = losses_of(task, model, batch)["loss"]
    theirs = nn.CrossEntropyLoss(weight=task.weight_C)(
        model(batch.images["image"]), batch.targets["label"].long()
    )
    assert (loss.sum / loss.count).item() == pytest.approx(theirs.item(), rel=1e-6)


def test_a_class_that_is_not_there_is_named() -> None:
    with pytest.raises(
        RequestError, match="'bea', expected a class: one of ant, bee, cat, dog. Did you mean 'bee'"
    ):
        weighted({"bea": 2})


def test_classes_named_by_numbers_and_negative_weights() -> None:
    assert check("task", Component(name="classification", class_weights={3: 2}), "task")[0][
        "class_weights"
    ] == {"3": 2.0}
    for wrong in ({"ant": -1}, "balance"):
        _, faults = check("task", Component(name="classification", class_weights=wrong), "task")
        assert [fault.where.startswith("task.class_weights") for fault in faults] == [True]


def test_decode_names_the_likeliest_class(task: Classification, batch: Batch) -> None:
    model = Linear()
    answers = task.decode(task.raw(task.outputs(model, batch), batch), batch)
    expected = model(batch.images["image"]).softmax(1)
    assert [a.id for a in answers] == batch.ids
    assert [a.values["class"] for a in answers] == [CLASSES[i] for i in expected.argmax(1)]
    np.testing.assert_allclose(
        [a.values["probabilities"] for a in answers], expected.detach().numpy(), rtol=1e-6
    )
    assert all(sum(a.values["probabilities"]) == pytest.approx(1, abs=1e-6) for a in answers)


def test_half_precision_logits_give_probabilities_that_sum_to_one(task: Classification, batch: Batch) -> None:
    raw = raw_of(task, nn.Sequential(Linear(), Halved()), batch)
    assert raw["probabilities"].dtype == torch.float32
    assert raw["probabilities"].sum(1).tolist() == pytest.approx([1] * 6, abs=1e-6)


class Halved(nn.Module):
    def forward(self, logits: torch.Tensor) -> torch.Tensor:
        return logits.half()


def test_rows_become_samples_with_and_without_a_label(task: Classification) -> None:
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    row = {"id": "a", "path": "a.png", "image": encode_png(pixels)}
    (sample,) = task.samples({**row, "label": 3, "weight": 0.5})
    assert sample.target["weight"].item() == 0.5
    assert sample.id == "a"
    assert torch.equal(sample.images["image"], torch.from_numpy(pixels).permute(2, 0, 1))
    assert sample.target["label"].item() == 3
    (unlabelled,) = task.samples(row)
    assert unlabelled.target == {}


def test_quality_is_the_probability_of_the_truth(task: Classification) -> None:
    answer = Prediction("a", {"class": "bee", "probabilities": [0.1, 0.6, 0.25, 0.05]})
    assert task.answer.quality(answer, {"label": 2}) == 0.25
    assert task.answer.quality(answer, {"label": 1}) == 0.6


def test_captions(task: Classification) -> None:
    assert task.answer.caption({"class": "bee", "probabilities": [0.1, 0.636, 0.25, 0.014]}) == "bee 64%"
    assert task.answer.caption({"label": 3}) == "dog"


def test_views_are_averaged(task: Classification) -> None:
    one, two = torch.tensor([[0.2, 0.8]]), torch.tensor([[0.6, 0.4]])
    merged = task.merge([{"probabilities": one}, {"probabilities": two}], [None, None])
    assert merged["probabilities"].tolist() == [pytest.approx([0.4, 0.6])]


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """A LeNet as initialised, on digits."""
    root = tmp_path_factory.mktemp("classification")
    prepare(
        build("format", Component(name="digits"), None),
        Classification.schema,
        "classification",
        SplitRule(),
        root / "data",
        64,
    )
    sections = {
        "task": "classification",
        "data": {"format": "digits"},
        "image": {"size": (8, 8), "channels": 1},
    }
    session = LocalSession(
        Compute(device="cpu", threads=1), CheckpointStore(root / "checkpoints"), None, Console()
    )
    return make_job(Recipe.model_validate(sections), PreparedDataset(root / "data"), session)


@pytest.fixture(scope="module")
def measured(job: Job) -> Evaluation:
    return evaluate(job, "test", batch_size=64, keep_predictions=True)


def test_the_metric_through_evaluate_is_scikit_learn_s(job: Job, measured: Evaluation) -> None:
    rows = [job.dataset.split("test")[i] for i in range(job.info.counts["test"])]
    truth = [row["label"] for row in rows]
    assert [p.id for p in measured.predictions] == [row["id"] for row in rows]
    said = [job.info.classes.index(p.values["class"]) for p in measured.predictions]
    probabilities = np.array([p.values["probabilities"] for p in measured.predictions])
    assert measured.metrics["accuracy"] == pytest.approx(accuracy_score(truth, said), abs=1e-12)
    assert measured.metrics["macro_f1"] == pytest.approx(f1_score(truth, said, average="macro"), abs=1e-12)
    assert measured.metrics["top5_accuracy"] == pytest.approx(
        top_k_accuracy_score(truth, probabilities, k=5), abs=1e-12
    )
    normalised = probabilities / probabilities.sum(1, keepdims=True)
    assert measured.metrics["log_loss"] == pytest.approx(log_loss(truth, normalised), rel=1e-6)
    assert measured.metrics["loss"] == pytest.approx(measured.metrics["log_loss"], rel=1e-5)
    assert measured.quality == [p[t] for p, t in zip(probabilities.tolist(), truth, strict=True)]
    assert measured.right == [s == t for s, t in zip(said, truth, strict=True)]


def test_the_batch_size_changes_no_answer(job: Job, measured: Evaluation) -> None:
    other = evaluate(job, "test", batch_size=1000, keep_predictions=True)
    assert [p.id for p in other.predictions] == [p.id for p in measured.predictions]
    for key in ("accuracy", "macro_f1"):
        assert other.metrics[key] == measured.metrics[key]
    assert other.metrics["log_loss"] == pytest.approx(measured.metrics["log_loss"], rel=1e-6)


def test_evaluation_leaves_the_model_in_its_mode(job: Job) -> None:
    job.model.train()
    evaluate(job, "val", 64)
    assert job.model.training
    job.model.eval()
    evaluate(job, "val", 64)
    assert not job.model.training


def test_predictions_are_kept_only_when_asked_for(job: Job) -> None:
    result = evaluate(job, "val", 64)
    assert result.predictions == result.quality == result.right == []


def test_the_objective_is_accuracy(job: Job, task: Classification) -> None:
    assert objective_of(task.answer) == Objective("accuracy", "max")


def test_measuring_runs_the_network_once_and_says_what_the_two_would(
    task: Classification, batch: Batch
) -> None:
    model, runs = Linear(), []
    model.register_forward_hook(lambda *_: runs.append(1))
    outputs = task.outputs(model, batch)
    losses, raw = task.losses(outputs, batch), task.raw(outputs, batch)
    assert len(runs) == 1
    assert losses["loss"].sum == losses_of(task, model, batch)["loss"].sum
    assert torch.equal(raw["probabilities"], task.raw(task.outputs(model, batch), batch)["probabilities"])
