"""Samplers, images a class and class weights reach the training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch

from cvflow.config import Recipe
from cvflow.dataset.prepared import PreparedDataset
from cvflow.engine.job import Job, make_job
from cvflow.engine.loop import train
from cvflow.engine.session import Session
from cvflow.tasks.classification import Classification

Recipes = Callable[..., Recipe]
Sessions = Callable[..., Session]


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Each training sample's id, as often as it went through a loss."""
    ids: Counter[str] = Counter()
    losses = Classification.losses

    def counted(self: Classification, outputs: torch.Tensor, batch: Any) -> Any:
        ids.update(batch.ids if outputs.requires_grad else ())
        return losses(self, outputs, batch)

    monkeypatch.setattr(Classification, "losses", counted)
    return ids


def labels(digits: PreparedDataset) -> dict[str, int]:
    rows = digits.split("train")
    return dict(zip(rows.column("id"), rows.column("label"), strict=True))


def step(job: Job) -> int:
    checkpoint = job.session.checkpoints.latest()
    assert checkpoint is not None
    return int(checkpoint.state["step"])


@pytest.mark.parametrize("sampler", ["shuffle", "balanced"])
def test_so_many_images_a_class_and_no_more(
    digits: PreparedDataset, recipe: Recipes, session: Sessions, seen: Counter[str], sampler: str
) -> None:
    job = train(recipe(epochs=2, batch_size=8, images_per_class=4, sampler=sampler), digits, session())
    assert step(job) == 2 * 40 // 8
    by_class = Counter(labels(digits)[id] for id in seen)
    assert by_class == dict.fromkeys(range(10), 4)
    assert set(seen.values()) == {2}


def test_balanced_shows_each_class_alike(
    digits: PreparedDataset, recipe: Recipes, session: Sessions, seen: Counter[str]
) -> None:
    train(recipe(epochs=1, batch_size=1, sampler="balanced"), digits, session())
    times: Counter[int] = Counter()
    for id, count in seen.items():
        times[labels(digits)[id]] += count
    assert max(times.values()) - min(times.values()) <= 1
    assert sum(times.values()) == digits.info.counts["train"]


def test_a_common_factor_of_the_weights_changes_nothing(
    digits: PreparedDataset, recipe: Recipes, session: Sessions
) -> None:
    """Even where the weights of a batch sum to less than one."""

    def trained(name: str, weight: float, **more: Any) -> torch.Tensor:
        chosen = recipe(epochs=1, batch_size=32, optimizer={"name": "sgd", "lr": 0.02, "momentum": 0}, **more)
        weights = {"name": "classification", "class_weights": {str(c): weight for c in range(10)}}
        weighed = Recipe.model_validate({**chosen.model_dump(by_alias=True), "task": weights})
        state: torch.Tensor = train(weighed, digits, session(name)).model.state_dict()["head.weight"]
        return state

    plain = trained("plain", 1.0)
    torch.testing.assert_close(trained("small", 1 / 128), plain)
    torch.testing.assert_close(trained("parts", 1 / 128, accumulate=2), plain, rtol=1e-4, atol=1e-5)


def test_the_recipe_s_initialisation_is_where_training_starts(
    digits: PreparedDataset, recipe: Recipes, session: Sessions
) -> None:
    def start(name: str, seed: int = 0) -> torch.Tensor:
        model = {"name": "classifier", "init": {"name": "orthogonal", "activation": "linear"}}
        weight: torch.Tensor = make_job(recipe(model, seed), digits, session(name)).model.state_dict()[
            "backbone.fc2.weight"
        ]
        return weight

    one = start("one")
    torch.testing.assert_close(one @ one.T, torch.eye(84), atol=1e-5, rtol=0)
    assert torch.equal(one, start("two"))
    assert not torch.equal(one, start("three", seed=1))
