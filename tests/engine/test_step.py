"""Losses as (sum, count): means over uneven parts, several losses of several counts."""

from __future__ import annotations

import torch

from cvflow.engine.step import reduce
from cvflow.types import Loss


def test_each_loss_is_divided_by_its_own_count() -> None:
    weight = torch.tensor(2.0, requires_grad=True)
    losses = {"loss": Loss(weight * 12, torch.tensor(4)), "boxes": Loss(weight**2, torch.tensor(8))}
    total, means = reduce(losses, world_size=1)
    assert means.tolist() == [6, 0.5]
    assert not means.requires_grad
    total.backward()  # type: ignore[no-untyped-call]
    assert total.item() == 6.5
    assert weight.grad is not None
    assert weight.grad.item() == 12 / 4 + 2 * 2 / 8


def test_a_loss_of_nothing_is_zero_and_not_nan() -> None:
    total, means = reduce({"boxes": Loss(torch.tensor(0.0, requires_grad=True), torch.tensor(0))}, world_size=1)
    assert total.item() == 0
    assert means.tolist() == [0]
