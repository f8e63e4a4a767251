"""What was saved comes back, bit for bit, and what is damaged never does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cvflow.engine.checkpoint import Checkpoint, CheckpointStore, flatten_optimizer, unflatten_optimizer
from cvflow.registry import Component, build


def checkpoint(step: int) -> Checkpoint:
    return Checkpoint(
        {"step": step, "best": None}, {"model": {"w": torch.full((2, 3), float(step))}, "optimizer": {}}
    )


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    return CheckpointStore(tmp_path / "checkpoints")


def steps(store: CheckpointStore) -> list[int]:
    return [int(path.name.removeprefix("step-")) for path in sorted(store.root.glob("step-*"))]


def newest(store: CheckpointStore) -> Any:
    found = store.latest()
    return found and found.state["step"]


def test_round_trip(store: CheckpointStore) -> None:
    odd = {
        "half": torch.rand(3).half(),
        "count": torch.tensor(7),
        "turned": torch.rand(4, 2).t(),
        "none": torch.empty(0),
    }
    state = {"step": 3, "best": 0.1 + 0.2, "points": [{"step": 1, "metrics": {"loss": 1e-30}}]}
    store.save(3, Checkpoint(state, {"model": odd, "optimizer": {}}))
    back = store.latest()
    assert back is not None
    assert back.state == state
    assert set(back.tensors) == {"model", "optimizer"}
    for name, tensor in odd.items():
        assert back.tensors["model"][name].dtype == tensor.dtype
        assert torch.equal(back.tensors["model"][name], tensor)


def test_nothing_there(store: CheckpointStore) -> None:
    assert store.latest() is None
    assert store.best() is None


def test_the_last_two_and_the_best_are_kept(store: CheckpointStore) -> None:
    for step in range(1, 6):
        store.save(step, checkpoint(step), best=step == 2)
    assert steps(store) == [2, 4, 5]
    assert store.best().state["step"] == 2  # type: ignore[union-attr]
    store.save(6, checkpoint(6), best=True)
    assert steps(store) == [5, 6]
    assert store.best().state["step"] == 6  # type: ignore[union-attr]


def test_without_a_best_one_it_is_the_latest(store: CheckpointStore) -> None:
    store.save(1, checkpoint(1))
    store.save(2, checkpoint(2))
    assert store.best().state["step"] == 2  # type: ignore[union-attr]


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-3])


@pytest.mark.parametrize(
    "name", ["model.safetensors", "optimizer.safetensors", "state.json", "manifest.json"]
)
@pytest.mark.parametrize(
    "harm",
    [flip, cut, Path.unlink, lambda file: file.write_bytes(b"")],
    ids=["flipped", "cut", "gone", "empty"],
)
def test_a_damaged_newest_is_passed_over(
    store: CheckpointStore, name: str, harm: Callable[[Path], Any]
) -> None:
    store.save(1, checkpoint(1), best=True)
    harm(store.save(2, checkpoint(2)) / name)
    assert newest(store) == 1
    store.save(2, checkpoint(2))  # the training comes by again
    assert newest(store) == 2


def test_a_damaged_best_one_gives_way_to_the_latest(store: CheckpointStore) -> None:
    flip(store.save(1, checkpoint(1), best=True) / "model.safetensors")
    store.save(2, checkpoint(2))
    assert store.best().state["step"] == 2  # type: ignore[union-attr]


def test_a_half_written_one_is_not_seen(store: CheckpointStore) -> None:
    store.save(1, checkpoint(1))
    aside = store.root / ".step-000000002.4711"
    aside.mkdir()
    (aside / "model.safetensors").write_bytes(b"half")
    empty = store.root / "step-000000003"
    empty.mkdir()
    assert newest(store) == 1
    assert store.best().state["step"] == 1  # type: ignore[union-attr]


def test_the_best_one_is_marked_before_a_kill_can_come_between(
    store: CheckpointStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint whose state says it is the best must never be there unmarked."""
    store.save(1, checkpoint(1), best=True)
    renamed = Path.rename

    def killed(self: Path, target: Path) -> Path:
        renamed(self, target)
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "rename", killed)
    with pytest.raises(KeyboardInterrupt):
        store.save(2, checkpoint(2), best=True)
    monkeypatch.undo()
    assert newest(store) == 2
    assert store.best().state["step"] == 2  # type: ignore[union-attr]


def test_a_kill_before_the_rename_keeps_the_old_best(
    store: CheckpointStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.save(1, checkpoint(1), best=True)

    def killed(self: Path, target: Path) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "rename", killed)
    with pytest.raises(KeyboardInterrupt):
        store.save(2, checkpoint(2), best=True)
    monkeypatch.undo()
    assert newest(store) == 1
    assert store.best().state["step"] == 1  # type: ignore[union-attr]


OPTIMIZERS = [
    Component(name="sgd", lr=0.05, momentum=0.9, nesterov=True, weight_decay=1e-3),
    Component(name="sgd", lr=0.05, momentum=0.0),
    Component(name="sgd", lr=0.05, weight_decay=1e-2, decay="weights"),
    Component(name="adagrad", lr=1e-2),
    Component(name="rmsprop", lr=1e-2, momentum=0.5, centered=True),
    Component(name="adam", lr=1e-2),
    Component(name="adamw", lr=1e-2),
    Component(name="lbfgs", max_iter=3, history=5),
    Component(name="lbfgs", lr=0.01, max_iter=3, history=2, line_search="none"),
]


def step(model: nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> None:
    batch = torch.rand(8, 3, 5, 5, generator=torch.Generator().manual_seed(seed))

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss: Tensor = (model(batch) - 1).square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)


def network(layout: torch.memory_format = torch.contiguous_format) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Conv2d(4, 2, 3)).to(memory_format=layout)


def weights(model: nn.Module) -> list[Tensor]:
    return [p.detach().clone() for p in model.parameters()]


@pytest.mark.parametrize(
    "layout", [torch.contiguous_format, torch.channels_last], ids=["contiguous", "channels_last"]
)
@pytest.mark.parametrize("component", OPTIMIZERS, ids=lambda c: f"{c.name}-{c.options}")
def test_the_step_after_a_restore_is_the_unbroken_one(
    store: CheckpointStore, component: Component, layout: torch.memory_format
) -> None:
    torch.manual_seed(0)
    model = network(layout)
    optimizer = build("optimizer", component, model.parameters())
    for seed in range(3):
        step(model, optimizer, seed)
    tensors, data = flatten_optimizer(optimizer.state_dict())
    store.save(3, Checkpoint({"optimizer": data}, {"model": model.state_dict(), "optimizer": tensors}))
    for seed in range(3, 6):
        step(model, optimizer, seed)

    back = store.latest()
    assert back is not None
    other = network(layout)
    other.load_state_dict(back.tensors["model"])
    restored = build("optimizer", component, other.parameters())
    restored.load_state_dict(unflatten_optimizer(back.tensors["optimizer"], back.state["optimizer"]))
    for seed in range(3, 6):
        step(other, restored, seed)
    assert all(torch.equal(a, b) for a, b in zip(weights(model), weights(other), strict=True))


def test_lists_of_tensors_and_gaps_come_back(store: CheckpointStore) -> None:
    """What L-BFGS keeps: lists of tensors, of tensors and None, numbers."""
    slots = {
        "dirs": [torch.rand(3), torch.rand(3)],
        "al": [torch.tensor(0.5), None],
        "none": [],
        "t": 0.1 + 0.2,
        "n": 7,
    }
    tensors, data = flatten_optimizer({"state": {0: slots}, "param_groups": [{"params": [0]}]})
    store.save(1, Checkpoint({"optimizer": data}, {"optimizer": tensors}))
    saved = store.latest()
    assert saved is not None
    back = unflatten_optimizer(saved.tensors["optimizer"], saved.state["optimizer"])["state"][0]
    assert {k: back[k] for k in ("none", "t", "n")} == {"none": [], "t": 0.1 + 0.2, "n": 7}
    pairs = zip(back["dirs"], slots["dirs"], strict=True)  # type: ignore[arg-type]
    assert all(torch.equal(a, b) for a, b in pairs)
    assert (back["al"][0], back["al"][1:]) == (torch.tensor(0.5), [None])
