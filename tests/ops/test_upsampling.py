"""The worked examples of unpooling and transposed convolution, exactly; and what torch itself computes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cvflow.ops.upsampling import (
    BilinearUpsampling,
    LearntUpsampling,
    bed_of_nails,
    bilinear_kernel,
    max_pool,
    max_unpool,
    nearest,
)

SMALL = [[6, 8], [3, 4]]


def maps(rows: list[list[int]]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float32)[None, None]


def test_nearest() -> None:
    assert nearest(maps(SMALL))[0, 0].tolist() == [[6, 6, 8, 8], [6, 6, 8, 8], [3, 3, 4, 4], [3, 3, 4, 4]]


def test_bed_of_nails() -> None:
    assert bed_of_nails(maps(SMALL))[0, 0].tolist() == [
        [6, 0, 8, 0],
        [0, 0, 0, 0],
        [3, 0, 4, 0],
        [0, 0, 0, 0],
    ]


def test_max_unpooling_with_the_switches_of_pooling() -> None:
    pooled, switches = max_pool(maps([[1, 1, 2, 4], [5, 6, 8, 7], [3, 2, 1, 0], [1, 2, 3, 4]]))
    assert pooled[0, 0].tolist() == SMALL
    assert max_unpool(pooled, switches, (4, 4))[0, 0].tolist() == [
        [0, 0, 0, 0],
        [0, 6, 8, 0],
        [3, 0, 0, 0],
        [0, 0, 0, 4],
    ]


def with_kernel(kernel: Tensor, factor: int = 2) -> LearntUpsampling:
    layer = LearntUpsampling(1, factor).to(kernel.dtype)
    with torch.no_grad():
        layer.weight.copy_(kernel)
    return layer


def test_transposed_convolution_before_and_after_cropping() -> None:
    """The kernel of three ones a side stands in one of four, whose last row and column add nothing."""
    ones = torch.ones(1, 1, 3, 3)
    whole = [[6, 6, 14, 8, 8], [6, 6, 14, 8, 8], [9, 9, 21, 12, 12], [3, 3, 7, 4, 4], [3, 3, 7, 4, 4]]
    assert F.conv_transpose2d(maps(SMALL), ones, stride=2)[0, 0].tolist() == whole
    assert with_kernel(F.pad(ones, (0, 1, 0, 1)))(maps(SMALL))[0, 0].tolist() == [
        row[1:] for row in whole[1:]
    ]


@pytest.mark.parametrize(("factor", "kernel", "padding"), [(2, 4, 1), (3, 5, 1), (4, 8, 2)])
def test_transposed_convolution_is_the_transposed_matrix(factor: int, kernel: int, padding: int) -> None:
    """Of the convolution that makes a map so many times smaller."""
    side = 3 * factor
    weight = torch.randint(-4, 5, (1, 1, kernel, kernel)).double()
    basis = torch.eye(side * side).double().reshape(-1, 1, side, side)
    convolved = F.conv2d(basis, weight, stride=factor, padding=padding)
    assert convolved.shape[1:] == (1, 3, 3)
    matrix = convolved.flatten(1).T  # convolution: matrix @ x
    y = torch.randint(-9, 10, (1, 1, 3, 3)).double()
    finer = with_kernel(weight, factor)(y)
    assert finer.shape == (1, 1, side, side)
    assert torch.equal(finer.flatten(), matrix.T @ y.flatten())


def test_softmax() -> None:
    assert [round(p, 3) for p in torch.tensor([-1.0, 3.0, 1.0]).softmax(0).tolist()] == [0.016, 0.867, 0.117]


@pytest.mark.parametrize(("side", "factor"), [(6, 2), (7, 2), (9, 3), (11, 4)])
def test_unpooling_is_torch_s_where_torch_is_not_deterministic(side: int, factor: int) -> None:
    x = torch.randn(2, 3, side, side + 1)
    pooled, switches = max_pool(x, factor)
    ours = max_unpool(pooled, switches, (side, side + 1))
    assert torch.equal(ours, F.max_unpool2d(pooled, switches, factor, output_size=(side, side + 1)))


@pytest.mark.parametrize("factor", [2, 3, 4, 8])
def test_the_bilinear_kernel_interpolates(factor: int) -> None:
    """Inside; at the border the zeros beyond show."""
    x = torch.randn(2, 3, 7, 5)
    expected = F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)
    inside = slice(factor, -factor)
    for layer in (LearntUpsampling(3, factor), BilinearUpsampling(factor)):
        finer = layer(x)
        assert finer.shape == expected.shape
        torch.testing.assert_close(finer[..., inside, inside], expected[..., inside, inside])
    assert bilinear_kernel(factor).sum().item() == pytest.approx(factor**2)


@pytest.mark.parametrize("factor", [2, 3])
def test_gradients_are_those_of_finite_differences(factor: int) -> None:
    torch.use_deterministic_algorithms(True)
    try:
        x = torch.randn(1, 2, 3, 3, dtype=torch.float64, requires_grad=True)
        _, switches = max_pool(torch.randn(1, 2, 3 * factor, 3 * factor).double(), factor)
        for change in (
            lambda x: nearest(x, factor),
            lambda x: bed_of_nails(x, factor),
            lambda x: max_unpool(x, switches, (3 * factor, 3 * factor)),
            LearntUpsampling(2, factor).double(),
            BilinearUpsampling(factor),
        ):
            assert torch.autograd.gradcheck(change, x)
    finally:
        torch.use_deterministic_algorithms(False)


def test_only_the_learnt_one_learns() -> None:
    assert [type(p) for p in LearntUpsampling(3).parameters()] == [nn.Parameter]
    assert [*BilinearUpsampling(2).parameters(), *BilinearUpsampling(2).state_dict()] == []
