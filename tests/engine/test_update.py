"""One optimiser step: in parts, clipped, at lower precision, in another memory order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cvflow.config import Recipe
from cvflow.dataset.prepared import PreparedDataset
from cvflow.engine.history import read_history
from cvflow.engine.job import Job, make_job
from cvflow.engine.loop import train
from cvflow.engine.meter import Clock
from cvflow.engine.session import Session
from cvflow.engine.update import Update
from cvflow.errors import RequestError
from cvflow.types import Batch, Loss

Make = Callable[..., Recipe]
Sessions = Callable[..., Session]
DIGITS = {"epochs": 2, "optimizer": {"name": "sgd", "lr": 0.02}}


def trained(recipe: Recipe, digits: PreparedDataset, session: Session) -> dict[str, Tensor]:
    state: dict[str, Tensor] = train(recipe, digits, session).model.state_dict()
    return state


def distance(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> float:
    return max(float((a[k].float() - b[k].float()).abs().max()) for k in a)


@pytest.mark.parametrize("parts", [2, 3, 64])
def test_a_step_in_parts_is_the_same_step(
    parts: int, digits: PreparedDataset, recipe: Make, session: Sessions
) -> None:
    whole = trained(recipe(**DIGITS), digits, session("whole"))
    divided = trained(recipe(**DIGITS, accumulate=parts), digits, session("parts"))
    assert distance(whole, divided) < 1e-5
    assert distance(whole, trained(recipe(epochs=1), digits, session("other"))) > 1e-2


class Weighed:
    """A task whose one loss counts by weights, so that parts of a batch count differently."""

    def outputs(self, model: nn.Module, batch: Batch) -> Tensor:
        scores: Tensor = model(batch.images["x"])[:, 0]
        return scores

    def losses(self, outputs: Tensor, batch: Batch) -> dict[str, Loss]:
        weight = batch.targets["weight"]
        return {"loss": Loss((outputs * weight).sum(), weight.sum())}


@pytest.mark.parametrize("first", [1.0, 0.0], ids=["uneven", "nothing in the first part"])
def test_parts_of_uneven_weight_make_the_exact_step(
    first: float, digits: PreparedDataset, recipe: Make, session: Sessions
) -> None:
    x = torch.arange(12.0).reshape(4, 3)
    batch = Batch(["a", "b", "c", "d"], {"x": x}, {"weight": torch.tensor([first, first, 10.0, 3.0])})
    moved = []
    for parts in (1, 2, 4):
        chosen = recipe(accumulate=parts)
        torch.manual_seed(0)
        model = nn.Linear(3, 1)
        job: Any = replace(make_job(chosen, digits, session(str(parts))), model=model, task=Weighed())
        before = model.weight.detach().clone()
        optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
        means, taken = Update(job, optimizer, Clock(torch.device("cpu")))(batch, seed=0)
        moved.append((model.weight.detach() - before, means))
        assert taken
    for step, means in moved[1:]:
        torch.testing.assert_close(step, moved[0][0])
        torch.testing.assert_close(means, moved[0][1])


class TwoLosses:
    """Two losses of one network, which count differently over the parts of a batch.

    One of them counts nothing in the first part.
    """

    def outputs(self, model: nn.Module, batch: Batch) -> Tensor:
        scores: Tensor = model(batch.images["x"])
        return scores

    def losses(self, outputs: Tensor, batch: Batch) -> dict[str, Loss]:
        boxed_B = batch.targets["boxed"]
        named, placed = outputs[:, 0], outputs[:, 1] * boxed_B
        return {
            "class_loss": Loss(named.sum(), named.new_tensor(len(batch))),
            "box_loss": Loss(placed.sum(), boxed_B.sum()),
        }


def test_two_losses_that_count_differently_make_the_exact_step(
    digits: PreparedDataset, recipe: Make, session: Sessions
) -> None:
    images = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    batch = Batch(list("abcdefgh"), {"x": images}, {"boxed": torch.tensor([0.0, 0, 0, 1, 1, 1, 1, 1])})
    moved = []
    for parts in (1, 2, 3, 8):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 5), nn.Dropout(0.0), nn.Tanh(), nn.Linear(5, 2))
        job: Any = replace(
            make_job(recipe(accumulate=parts), digits, session(str(parts))), model=model, task=TwoLosses()
        )
        before = [p.detach().clone() for p in model.parameters()]
        optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
        means, taken = Update(job, optimizer, Clock(torch.device("cpu")))(batch, seed=0)
        assert taken
        moved.append([*(p.detach() - b for p, b in zip(model.parameters(), before, strict=True)), means])
    for step in moved[1:]:
        torch.testing.assert_close(step, moved[0])


def test_the_running_averages_take_each_part_once(
    digits: PreparedDataset, recipe: Make, session: Sessions
) -> None:
    """Parts that are run ahead for their counts leave no trace, and the first part's graph is still good."""
    batch = Batch(
        list("abcdef"), {"x": torch.arange(18.0).reshape(6, 3)}, {"boxed": torch.tensor([0.0, 1, 0, 0, 1, 1])}
    )
    model = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 2))
    job: Any = replace(make_job(recipe(accumulate=3), digits, session()), model=model, task=TwoLosses())
    Update(job, torch.optim.SGD(model.parameters(), lr=1.0), Clock(torch.device("cpu")))(batch, seed=0)
    alone = nn.BatchNorm1d(3)
    for part in batch.parts(3):
        alone(part.images["x"])
    assert int(model[0].num_batches_tracked) == 3  # type: ignore[arg-type]
    torch.testing.assert_close(model[0].running_mean, alone.running_mean)
    torch.testing.assert_close(model[0].running_var, alone.running_var)


def test_clipping_bounds_the_step(digits: PreparedDataset, recipe: Make, session: Sessions) -> None:
    def moved(name: str, **how: Any) -> float:
        plain = {"name": "sgd", "lr": 1.0, "momentum": 0.0}
        # one step
        chosen = recipe(epochs=1, optimizer=plain, schedule="constant", batch_size=10_000, **how)
        before = make_job(chosen, digits, session("start")).model.state_dict()
        after = trained(chosen, digits, session(name))
        return (
            sum(float((after[k] - before[k]).norm() ** 2) for k, _ in before.items() if "normalize" not in k)
            ** 0.5
        )

    assert moved("free") > 0.03
    assert moved("clipped", clip_norm=0.01) == pytest.approx(0.01, rel=1e-3)


def test_a_closure_trains_the_same_in_parts(
    digits: PreparedDataset, recipe: Make, session: Sessions, tmp_path: Path
) -> None:
    """L-BFGS on one batch of all rows, which evaluates the loss several times a step."""

    def fitted(parts: int) -> tuple[dict[str, Tensor], list[float]]:
        model = {"name": "classifier", "backbone": {"name": "mlp", "hidden": [16]}}
        plan = recipe(
            model,
            every=1,
            epochs=5,
            batch_size=10_000,
            schedule="constant",
            optimizer={"name": "lbfgs", "max_iter": 5},
            accumulate=parts,
        )
        weights = trained(plan, digits, session(str(parts)))
        points = [point.metrics for _, point in read_history(tmp_path / str(parts) / "history.jsonl")]
        return weights, [metrics["loss"] for metrics in points if "epoch" not in metrics]

    (whole, losses), (divided, in_parts) = fitted(1), fitted(2)
    assert len(losses) == 5
    assert losses[-1] < 0.1 * losses[0]
    assert in_parts == pytest.approx(losses, abs=1e-3)
    assert distance(whole, divided) < 1e-3


@pytest.mark.parametrize(
    "how", [{"clip_norm": 1.0}, {"not_finite": "skip"}, {"precision": "fp16"}], ids=["clip", "skip", "fp16"]
)
def test_a_closure_refuses_what_it_would_pass_over(
    how: dict[str, Any], digits: PreparedDataset, recipe: Make, session: Sessions
) -> None:
    with pytest.raises(
        RequestError, match=rf"train\.{next(iter(how))}: got .* with an optimiser that needs a closure"
    ):
        trained(recipe(epochs=1, optimizer="lbfgs", **how), digits, session())


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_lower_precision_learns_and_leaves_the_weights_whole(
    precision: str, digits: PreparedDataset, recipe: Make, session: Sessions
) -> None:
    full = trained(recipe(**DIGITS), digits, session("fp32"))
    lower = trained(recipe(**DIGITS, precision=precision), digits, session(precision))
    assert {t.dtype for t in lower.values()} == {torch.float32}
    assert 0 < distance(full, lower) < 0.05


def test_channels_last_is_the_same_training(digits: PreparedDataset, recipe: Make, session: Sessions) -> None:
    model = {"name": "classifier", "backbone": {"name": "cifar_resnet", "depth": 20}}
    plain = trained(recipe(model, epochs=1, batch_size=160), digits, session("plain"))
    turned = session("turned")
    job: Job = train(recipe(model, epochs=1, batch_size=160, channels_last=True), digits, turned)
    weight: Tensor = job.model.backbone.conv1.weight  # type: ignore[union-attr, assignment]
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert distance(plain, job.model.state_dict()) < 1e-3
    saved = turned.checkpoints.latest()
    assert saved is not None
    assert distance(saved.tensors["model"], job.model.state_dict()) == 0


@pytest.mark.slow
def test_compiled_is_the_same_training(digits: PreparedDataset, recipe: Make, session: Sessions) -> None:
    plain = trained(recipe(**DIGITS), digits, session("plain"))
    compiled = trained(recipe(**DIGITS, compile=True), digits, session("compiled"))
    assert plain.keys() == compiled.keys()
    assert distance(plain, compiled) < 1e-4


def test_loading_in_this_process_or_another_is_the_same_training(
    digits: PreparedDataset, recipe: Make, session: Sessions
) -> None:
    """A thread augments ahead while dropout is drawn from the same generator."""
    plan = recipe(
        {"name": "classifier", "dropout": 0.4}, **DIGITS, augment=[{"name": "random_crop", "padding": 1}]
    )
    apart = session("apart")
    apart.loader_workers = 1
    assert distance(trained(plan, digits, session("here")), trained(plan, digits, apart)) == 0


def test_compile_without_a_compiler_says_what_to_type(
    digits: PreparedDataset, recipe: Make, session: Sessions, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(
        RequestError, match=r"train\.compile: got true, without a C\+\+ compiler.*type train\.compile=false"
    ):
        train(recipe(epochs=1, compile=True), digits, session())
