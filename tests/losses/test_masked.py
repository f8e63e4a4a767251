"""Losses over known pixels, by hand."""

from __future__ import annotations

import pytest
import torch

from cvflow.losses.masked import endpoint, smooth_l1

NAN = float("nan")


def test_smooth_l1_by_hand() -> None:
    truth = torch.tensor([[[[1.0, NAN], [2.0, 0.0]]]])
    answer = torch.tensor([[[[1.5, 9.0], [5.0, 0.0]]]], requires_grad=True)
    loss = smooth_l1(answer, truth)
    assert (loss.sum.item(), loss.count.item()) == (0.5 * 0.5**2 + 2.5, 3)
    loss.sum.backward()
    assert answer.grad is not None
    assert answer.grad[0, 0].tolist() == [[0.5, 0.0], [1.0, 0.0]]


def test_endpoint_by_hand() -> None:
    truth = torch.zeros(1, 2, 1, 3)
    truth[0, 1, 0, 2] = NAN
    answer = torch.tensor([[[[3.0, 0, 7]], [[4.0, 0, 7]]]], requires_grad=True)
    loss = endpoint(answer, truth, softened=1e-6)
    assert loss.sum.item() == pytest.approx(5.001, abs=1e-4)
    assert loss.count.item() == 2
    loss.sum.backward()
    assert answer.grad is not None
    assert torch.isfinite(answer.grad).all()
    assert answer.grad[0, :, 0, 0].tolist() == pytest.approx([0.6, 0.8])
    assert answer.grad[0, :, 0, 2].tolist() == [0, 0]


def test_nothing_known_counts_nothing() -> None:
    loss = smooth_l1(torch.ones(1, 1, 2, 2), torch.full((1, 1, 2, 2), NAN))
    assert (loss.sum.item(), loss.count.item()) == (0, 0)
