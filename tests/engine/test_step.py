"""Losses as (sum, count): means over uneven parts, several losses of several counts."""

from __future__ import annotations

import torch

from cvflow.engine.step import counted, nonzero, reduce
from cvflow.types import Loss


def test_each_loss_has_its_own_count() -> None:
    weight = torch.tensor(2.0, requires_grad=True)
    sums, table = counted(
        {"loss": Loss(weight * 12, torch.tensor(4)), "boxes": Loss(weight**2, torch.tensor(8))}
    )
    assert table.tolist() == [[24, 4], [4, 8]]
    assert not table.requires_grad
    (sums / reduce(table)[1]).sum().backward()  # type: ignore[no-untyped-call]
    assert weight.grad is not None
    assert weight.grad.item() == 12 / 4 + 2 * 2 / 8


def test_counts_below_one_are_divided_by_and_none_is_not() -> None:
    assert nonzero(torch.tensor([0.25, 0.0, 7.0])).tolist() == [0.25, 1.0, 7.0]
