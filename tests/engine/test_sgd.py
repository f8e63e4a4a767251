"""A phase of gradient steps: averaged weights, early stop, small images first, losses that are no number."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cvflow.config import Recipe
from cvflow.dataset.prepared import PreparedDataset
from cvflow.engine.ema import Average
from cvflow.engine.history import read_history
from cvflow.engine.job import make_job
from cvflow.engine.loop import train
from cvflow.engine.phases import Cursor
from cvflow.engine.phases.sgd import Sgd
from cvflow.engine.session import Session
from cvflow.errors import CvflowError, RequestError
from cvflow.stages.train import exported
from cvflow.types import Batch, Loss

Make = Callable[..., Recipe]
Sessions = Callable[..., Session]


def summaries(session: Session) -> list[dict[str, float]]:
    points = [p for _, p in read_history(session.checkpoints.root.parent / "history.jsonl")]
    return [dict(p.metrics) for p in points if "epoch" in p.metrics]


def test_the_average_follows_its_formula() -> None:
    model = nn.BatchNorm1d(1)
    average = Average(model, decay=0.9)
    expected = [1.0]
    for step in range(1, 60):
        with torch.no_grad():
            model.weight.fill_(step)
        model.num_batches_tracked.fill_(step)  # type: ignore[operator, union-attr]
        average.update(model, step)
        decay = min(0.9, (1 + step) / (10 + step))
        expected.append(decay * expected[-1] + (1 - decay) * step)
    weight = average.module.weight.item()  # type: ignore[operator, union-attr]
    assert weight == pytest.approx(expected[-1], rel=1e-5)
    assert average.module.num_batches_tracked.item() == 59  # type: ignore[operator, union-attr]


def test_averaged_weights_are_measured_and_kept(
    digits: PreparedDataset, recipe: Make, session: Sessions
) -> None:
    one = session()
    chosen = recipe(epochs=2, ema=0.9, keep="last")
    job = train(chosen, digits, one)
    assert job.average is not None
    kept = exported(one.checkpoints, chosen)
    averaged = job.average.module.state_dict()
    assert all(torch.equal(kept[k], averaged[k]) for k in kept)
    assert not torch.equal(kept["head.weight"], job.model.state_dict()["head.weight"])


def test_patience_ends_the_phase_not_the_training(
    digits: PreparedDataset, recipe: Make, session: Sessions
) -> None:
    # no epoch is better than the first
    still = {"name": "sgd", "lr": 1e-12, "momentum": 0.0}
    one = session()
    train(recipe(phases=[{"epochs": 9, "patience": 2, "optimizer": still}, {"epochs": 1}]), digits, one)
    last = one.checkpoints.latest()
    assert last is not None
    assert (last.state["phase"], last.state["epochs_done"]) == (1, 4)
    again = train(
        recipe(phases=[{"epochs": 9, "patience": 2, "optimizer": still}, {"epochs": 1}]), digits, one
    )
    assert len(summaries(one)) == 4
    assert again.model is not None


def test_small_images_first(digits: PreparedDataset, recipe: Make, session: Sessions) -> None:
    seen: list[tuple[int, ...]] = []

    class Watching(Sgd):
        def take_step(self, host_batch: Batch) -> tuple[Tensor, bool]:
            seen.append(tuple(host_batch.images["image"].shape[2:]))
            return super().take_step(host_batch)

    pooled = {"name": "classifier", "backbone": {"name": "cifar_resnet", "depth": 20}}
    chosen = recipe(pooled, batch_size=160, phases=[{"epochs": 1, "image_size": [6, 4]}, {"epochs": 1}])
    job = make_job(chosen, digits, session())
    for phase in chosen.train.plan():
        Watching(job, phase, Cursor(), None).run()
    assert list(dict.fromkeys(seen)) == [(6, 4), (8, 8)]


def test_a_size_that_the_model_does_not_take_is_refused(
    digits: PreparedDataset, recipe: Make, session: Sessions
) -> None:
    with pytest.raises(
        RequestError, match=r"train\.image_size: got 6x6 \(.*expected a size that the model takes"
    ):
        train(recipe(epochs=1, image_size=[6, 6]), digits, session())


def test_the_time_is_divided(digits: PreparedDataset, recipe: Make, session: Sessions) -> None:
    one = session()
    train(recipe(epochs=2), digits, one)
    first, second = summaries(one)
    parts = {"data", "forward", "backward", "optimizer", "evaluation", "tracking"}
    assert {k.removeprefix("seconds_") for k in first if k.startswith("seconds_")} == parts
    parts |= {"checkpoint"}  # that of the epoch before
    assert {k.removeprefix("seconds_") for k in second if k.startswith("seconds_")} == parts
    assert all(0 < second[f"seconds_{part}"] < 60 for part in parts)


def poison(monkeypatch: pytest.MonkeyPatch, when: Callable[[Batch], bool], grad_only: bool = False) -> None:
    """Make the loss (or just its gradient) of chosen batches infinite."""
    from cvflow.tasks.classification import Classification

    losses = Classification.losses

    def poisoned(self: Any, outputs: Tensor, batch: Batch) -> dict[str, Loss]:
        found = losses(self, outputs, batch)
        if outputs.requires_grad and when(batch):
            loss = found["loss"]
            if grad_only:
                loss.sum.register_hook(lambda grad: grad * float("inf"))
                return found
            return {"loss": Loss(loss.sum * float("nan"), loss.count)}
        return found

    monkeypatch.setattr(Classification, "losses", poisoned)


def a_batch(digits: PreparedDataset, recipe: Recipe, session: Session, number: int) -> list[str]:
    """The ids of the number-th batch of the first epoch."""
    phase = Sgd(make_job(recipe, digits, session), recipe.train.plan()[0], Cursor(), None)
    return next(batch.ids for i, batch in enumerate(phase.batches()) if i == number)


@pytest.mark.parametrize("every", [1, 4, 1000])
def test_a_loss_that_is_not_finite_names_its_batch(
    every: int, digits: PreparedDataset, recipe: Make, session: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = recipe(epochs=1, batch_size=32, every=every)
    ids = a_batch(digits, chosen, session("other"), 2)
    poison(monkeypatch, lambda batch: batch.ids == ids)
    with pytest.raises(CvflowError, match=r"not finite at step 3: .*train\.not_finite=skip") as caught:
        train(chosen, digits, session())
    assert f"The batch: {', '.join(ids)}." in str(caught.value)


@pytest.mark.parametrize("grad_only", [False, True])
def test_skipped_steps_are_said_and_change_nothing(
    grad_only: bool, digits: PreparedDataset, recipe: Make, session: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = recipe(epochs=1, batch_size=32, not_finite="skip")
    ids = a_batch(digits, chosen, session("other"), 2)
    poison(monkeypatch, lambda batch: batch.ids == ids, grad_only)
    one, said = session(), []
    monkeypatch.setattr(one, "say", said.append)
    weights: dict[str, Tensor] = train(chosen, digits, one).model.state_dict()
    assert all(bool(t.isfinite().all()) for t in weights.values())
    assert len(said) == 1
    assert said[0].startswith("step 3 skipped")
    assert said[0].endswith(f"The batch: {', '.join(ids)}")
    assert [s["skipped_steps"] for s in summaries(one)] == [1]


def test_skipping_everything_is_given_up(
    digits: PreparedDataset, recipe: Make, session: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison(monkeypatch, lambda batch: True)
    with pytest.raises(CvflowError, match="50 steps in a row were not finite"):
        train(recipe(epochs=20, batch_size=16, not_finite="skip"), digits, session())
