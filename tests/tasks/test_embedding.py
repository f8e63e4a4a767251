"""Embedding: its model, its losses and what it answers, from the built-in numbers to a trained model."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cvflow.config import Compute, Recipe, SplitRule
from cvflow.dataset.prepare import prepare
from cvflow.dataset.prepared import PreparedDataset
from cvflow.engine.checkpoint import CheckpointStore
from cvflow.engine.evaluate import evaluate
from cvflow.engine.history import History
from cvflow.engine.job import make_job
from cvflow.engine.loop import train
from cvflow.engine.views import UNIT, View
from cvflow.errors import RequestError
from cvflow.loading.samplers import Identities, Shuffle
from cvflow.ops.place import mirrored
from cvflow.registry import Component, build
from cvflow.runtime.console import Console
from cvflow.runtime.local import LocalSession
from cvflow.tasks.embedding import Embedding
from cvflow.types import Batch, Prediction
from tests.fixtures.tasks import losses_of


@pytest.fixture(scope="module")
def numbers(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    """60 numbers, 40 of them to train on, 6 images each."""
    out = tmp_path_factory.mktemp("numbers") / "data"
    reader = build("format", Component(name="digit_identities", identities=60, images=6), None)
    prepare(reader, Embedding.schema, "embedding", SplitRule(), out, 64)
    return PreparedDataset(out)


def recipe(task: Any = "embedding", model: Any = "embedder", **train: Any) -> Recipe:
    sections = {
        "task": task,
        "data": {"format": "digit_identities"},
        "image": {"size": (16, 44), "channels": 1},
        "model": model,
    }
    return Recipe.model_validate({**sections, "train": {"batch_size": 16, **train}})


@pytest.fixture
def session(tmp_path: Path) -> Callable[[], LocalSession]:
    def make() -> LocalSession:
        store, history = CheckpointStore(tmp_path / "checkpoints"), History(tmp_path / "history.jsonl")
        return LocalSession(Compute(device="cpu", threads=1), store, history, Console())

    return make


def first_batch(task: Embedding, data: PreparedDataset, cfg: Recipe, rows: int = 12) -> Batch:
    fit, reader = task.transforms(cfg, "test"), data.split("test")
    return task.collate([fit(sample) for i in range(rows) for sample in task.samples(reader[i])])


def test_merged_views_are_a_unit_vector_in_their_mean_direction() -> None:
    raws = [
        {"embedding": torch.tensor([[1.0, 0.0], [0.6, 0.8]])},
        {"embedding": torch.tensor([[0.0, 1.0], [0.6, -0.8]])},
    ]
    merged = Embedding().merge(raws, [View(), View(mirrored(UNIT))])["embedding"]
    torch.testing.assert_close(merged, torch.tensor([[0.5**0.5, 0.5**0.5], [1.0, 0.0]]))


def test_the_embedding_is_a_unit_vector_of_dim_numbers(numbers: PreparedDataset) -> None:
    cfg = recipe(model={"name": "embedder", "dim": 7, "hidden": 5})
    task = Embedding()
    task.bind(numbers.info)
    model = task.build(cfg, numbers.info)
    assert [type(layer).__name__ for layer in model.head] == ["Linear", "ReLU", "Linear"]
    batch = first_batch(task, numbers, cfg)
    answers = task.decode(task.raw(task.outputs(model, batch), batch), batch)
    vectors = np.array([answer.values["embedding"] for answer in answers])
    assert vectors.shape == (12, 7)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(12), abs=1e-5)
    assert [answer.id for answer in answers] == batch.ids


def test_a_model_of_something_else_is_refused(numbers: PreparedDataset) -> None:
    with pytest.raises(RequestError, match="model.name: got 'classifier'.*Type model.name=embedder"):
        Embedding().build(recipe(model="classifier"), numbers.info)


def test_the_sampler_is_p_times_k_where_the_recipe_names_none(numbers: PreparedDataset) -> None:
    chosen = Embedding().sampler(recipe(), numbers.info)
    assert isinstance(chosen, Identities)
    assert (chosen.column, chosen.identities, chosen.images) == ("identity", 4, 4)
    assert isinstance(Embedding().sampler(recipe(sampler="shuffle"), numbers.info), Shuffle)
    few = Embedding().sampler(recipe(images_per_class=2), numbers.info)
    rows = numbers.split("train")
    seen = {i for epoch in range(20) for i in few.order(rows, 0, epoch)}
    assert Counter(rows.column("identity")[i] for i in seen) == dict.fromkeys(set(rows.column("identity")), 2)


def test_training_and_measuring_count_the_same_losses(numbers: PreparedDataset) -> None:
    for loss in ("triplet", "contrastive"):
        task, cfg = Embedding(loss=Component(name=loss)), recipe()
        task.bind(numbers.info)
        torch.manual_seed(0)
        model = task.build(cfg, numbers.info)
        batch = first_batch(task, numbers, cfg)
        trained = losses_of(task, model, batch)
        model.eval()
        outputs = task.outputs(model.train(), batch)
        measured, raw = task.losses(outputs, batch), task.raw(outputs, batch)
        assert raw["embedding"].shape == (12, 64)
        assert {n: (v.sum.item(), v.count.item()) for n, v in trained.items()} == {
            n: (v.sum.item(), v.count.item()) for n, v in measured.items()
        }


def test_a_short_training_tells_unseen_numbers_apart(
    numbers: PreparedDataset, session: Callable[[], LocalSession]
) -> None:
    cfg = recipe(
        task={"name": "embedding", "loss": {"name": "triplet", "mining": "semi_hard"}},
        epochs=8,
        optimizer={"name": "adamw", "lr": 0.003},
    )
    before = evaluate(make_job(cfg, numbers, session()), "test", 16)
    job = train(cfg, numbers, session())
    after = evaluate(job, "test", 16, keep_predictions=True)
    assert after.metrics["equal_error_rate"] < before.metrics["equal_error_rate"] - 0.05
    assert after.metrics["auc"] > before.metrics["auc"] + 0.1
    # the loss is of the pairs within a batch, all else of all pairs
    other = evaluate(job, "test", 7).metrics
    assert {**other, "loss": 0} == pytest.approx({**after.metrics, "loss": 0}, abs=1e-3)
    assert math.isfinite(after.metrics["loss"])
    assert all(math.isnan(quality) for quality in after.quality)
    assert set(after.details) == {"roc", "similarities", "nearest_neighbours"}


def test_captions(numbers: PreparedDataset) -> None:
    task = Embedding()
    task.bind(numbers.info)
    assert task.answer.caption({"identity": 1}) == numbers.info.classes[1]
    assert task.answer.caption(Prediction("a", {"embedding": [0.0] * 4}).values) == "4 numbers"


def test_the_guess_finds_neighbours_by_chance(numbers: PreparedDataset) -> None:
    task, rows = build("task", Component(name="embedding")), numbers.split("test")
    task.bind(numbers.info)
    answer, metric = task.answer.guess([]), task.answer.metric(numbers.info)
    samples = [rows[i] for i in range(len(rows))]
    assert answer(samples[0]) == answer(samples[0]) != answer(samples[1])
    targets = [{"identity": row["identity"]} for row in samples]
    metric.update([Prediction(row["id"], answer(row)) for row in samples], targets)
    each = Counter(target["identity"] for target in targets)
    chance = sum(n * (n - 1) for n in each.values()) / (len(samples) * (len(samples) - 1))
    assert metric.compute()["recall_at_1"] == pytest.approx(chance, abs=4 * (chance / len(samples)) ** 0.5)
