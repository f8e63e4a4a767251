"""Layers that several networks are made of."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from cvflow.models.layers import SameConv2d


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("dilation", [1, 4, 5, 9])
@pytest.mark.parametrize("size", [(12, 12), (9, 4), (5, 10), (1, 1), (2, 20)])
def test_weights_that_meet_only_padding_are_left_out_without_a_change(
    kernel: int, dilation: int, size: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    ours = SameConv2d(6, 4, kernel, dilation).double()
    plain = nn.Conv2d(6, 4, kernel, padding=dilation * (kernel // 2), dilation=dilation).double()
    plain.load_state_dict(ours.state_dict())
    x = torch.randn(2, 6, *size, dtype=torch.double, requires_grad=True)
    answers = []
    for layer in (ours, plain):
        answer = layer(x)
        answers.append((answer, *torch.autograd.grad((answer**2).sum(), (x, *layer.parameters()))))
    assert answers[0][0].shape == (2, 4, *size)
    for own, expected in zip(*answers, strict=True):
        torch.testing.assert_close(own, expected)


def test_only_the_weights_that_are_needed_are_computed_with(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = []
    real = nn.functional.conv2d
    monkeypatch.setattr(
        nn.functional,
        "conv2d",
        lambda x, weight, *rest, **options: (
            shapes.append(weight.shape[2:]) or real(x, weight, *rest, **options)
        ),
    )
    layer = SameConv2d(2, 2, 3, dilation=8)
    for size in ((8, 8), (8, 9), (9, 8), (9, 9)):
        assert layer(torch.zeros(1, 2, *size)).shape == (1, 2, *size)
    assert shapes == [(1, 1), (1, 3), (3, 1), (3, 3)]
