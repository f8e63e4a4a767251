"""The phase ``fit``: the last layer fitted to the features below it, alone and among other phases."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from cvflow.config import Recipe
from cvflow.dataset.prepared import PreparedDataset
from cvflow.engine.evaluate import evaluate
from cvflow.engine.history import read_history
from cvflow.engine.job import Job
from cvflow.engine.loop import train
from cvflow.engine.meter import Clock
from cvflow.engine.phases import Cursor
from cvflow.engine.phases.fit import collected
from cvflow.engine.session import Session
from cvflow.errors import InterruptedRunError, RequestError

FIT = {"kind": {"name": "fit", "c": 0.1}}
Make = Callable[..., Any]


def weights(job: Job) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in job.model.state_dict().items()}


def differing(a: dict[str, Tensor], b: dict[str, Tensor]) -> set[str]:
    return {name for name in a if not torch.equal(a[name], b[name])}


@pytest.mark.parametrize("estimator", ["linear", "svm"])
def test_only_the_last_layer_is_fitted_and_it_is_good(
    digits: PreparedDataset, recipe: Callable[..., Recipe], session: Make, estimator: str
) -> None:
    before = weights(train(recipe(epochs=0), digits, session("before")))
    one: Session = session("run")
    job = train(recipe(kind={"name": "fit", "estimator": estimator, "c": 0.1}), digits, one)
    assert differing(before, weights(job)) == {"head.weight", "head.bias"}
    assert evaluate(job, "test", 256).metrics["accuracy"] > 0.7, (
        "random features of a LeNet; guessing gives 0.1"
    )
    (point,) = [p for _, p in read_history(one.checkpoints.root.parent / "history.jsonl")]
    assert (point.step, point.metrics["epoch"]) == (1, 1)
    assert point.metrics["train_accuracy"] > 0.9
    assert point.metrics["val_accuracy"] > 0.6
    best = one.checkpoints.best()
    assert best is not None
    assert differing(best.tensors["model"], weights(job)) == set()


def test_the_same_again_and_resumed_where_it_is_done(
    digits: PreparedDataset, recipe: Callable[..., Recipe], session: Make
) -> None:
    plan = {"phases": [FIT, {"epochs": 1, "optimizer": {"name": "sgd", "lr": 0.01}}]}
    whole = weights(train(recipe(**plan), digits, session("whole")))
    part: Session = session("part")
    fitted = weights(train(recipe(phases=[FIT]), digits, part))
    assert differing(weights(train(recipe(phases=[FIT]), digits, part)), fitted) == set()
    assert differing(weights(train(recipe(**plan), digits, part)), whole) == set()


def test_it_goes_on_from_what_was_trained_before(
    digits: PreparedDataset, recipe: Callable[..., Recipe], session: Make
) -> None:
    sgd = {"epochs": 2, "optimizer": {"name": "sgd", "lr": 0.05}}
    trained = weights(train(recipe(phases=[sgd]), digits, session("sgd")))
    one: Session = session("both")
    both = weights(train(recipe(phases=[sgd, FIT], ema=0.5), digits, one))
    assert differing(trained, both) == {"head.weight", "head.bias"}
    kept = one.checkpoints.latest()
    assert kept is not None
    assert torch.equal(kept.tensors["ema"]["head.weight"], both["head.weight"])
    assert differing(kept.tensors["ema"], both) != set(), "the averaged network below is another"


def test_stopped_while_it_collects_it_is_done_again(
    digits: PreparedDataset, recipe: Callable[..., Recipe], session: Make
) -> None:
    one: Session = session()
    stopping = iter([True])
    one.should_stop = lambda: next(stopping, False)  # type: ignore[method-assign]
    with pytest.raises(InterruptedRunError):
        train(recipe(**FIT), digits, one)
    assert (
        differing(
            weights(train(recipe(**FIT), digits, one)),
            weights(train(recipe(**FIT), digits, session("other"))),
        )
        == set()
    )


def test_a_network_without_a_last_linear_layer_is_refused(
    digits: PreparedDataset, recipe: Callable[..., Recipe], session: Make
) -> None:
    job = train(recipe(epochs=0), digits, session())
    job.model = torch.nn.Flatten()
    with pytest.raises(
        RequestError,
        match=r"train\.kind: got fit with a Flatten, expected a classifier that ends in one linear layer",
    ):
        collected(job, Cursor(), Clock(job.session.device))
