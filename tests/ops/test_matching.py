"""Warping and cost volumes against loops and against torch's own sampling."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from cvflow.ops.cost_volume import disparity_volume, flow_volume, soft_argmin
from cvflow.ops.warp import warp


def test_warp_by_hand() -> None:
    x = torch.tensor([[[[0.0, 10, 20], [30, 40, 50]]]])
    flow = torch.zeros(1, 2, 2, 3)
    flow[:, 0, 0] = torch.tensor([0.5, 1.0, 5.0])
    flow[:, 1, 0, 0] = 0.5
    assert warp(x, flow)[0, 0].tolist() == [[20, 20, 20], [30, 40, 50]]


def test_warp_is_grid_sample_with_its_gradients() -> None:
    torch.manual_seed(0)
    x, flow = torch.randn(2, 3, 5, 7, dtype=torch.float64), 3 * torch.randn(2, 2, 5, 7, dtype=torch.float64)
    x.requires_grad_()
    flow.requires_grad_()
    rows, columns = torch.meshgrid(torch.arange(5), torch.arange(7), indexing="ij")
    grid = torch.stack([(columns + flow[:, 0]) / 6, (rows + flow[:, 1]) / 4], -1) * 2 - 1
    expected = F.grid_sample(x, grid, align_corners=True, padding_mode="border")
    found = warp(x, flow)
    torch.testing.assert_close(found, expected)
    gradients = [torch.autograd.grad(y.square().sum(), (x, flow)) for y in (found, expected)]
    torch.testing.assert_close(*gradients)


def test_one_pixel_can_be_warped() -> None:
    assert warp(torch.ones(1, 1, 1, 1), torch.full((1, 2, 1, 1), 3.0)).tolist() == [[[[1.0]]]]


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_disparity_volume_by_loops(groups: int) -> None:
    torch.manual_seed(0)
    left, right = torch.randn(2, 2, 4, 3, 6).unbind()
    volume = disparity_volume(left, right, 4, groups)
    assert volume.shape == (2, groups, 4, 3, 6)
    size = 4 // groups
    for g, d, x in [(0, 0, 0), (groups - 1, 3, 5), (0, 2, 2), (groups - 1, 3, 1)]:
        part = slice(g * size, (g + 1) * size)
        expected = (left[:, part, :, x] * right[:, part, :, x - d]).mean(1) if x >= d else torch.zeros(2, 3)
        torch.testing.assert_close(volume[:, g, d, :, x], expected)


def test_flow_volume_by_loops() -> None:
    torch.manual_seed(0)
    first, second = torch.randn(2, 1, 4, 5, 6).unbind()
    volume = flow_volume(first, second, 1)
    assert volume.shape == (1, 9, 5, 6)
    for number, (v, u) in enumerate((v, u) for v in (-1, 0, 1) for u in (-1, 0, 1)):
        for y, x in [(2, 3), (0, 0), (4, 5)]:
            there = 0 <= y + v < 5 and 0 <= x + u < 6
            expected = (first[0, :, y, x] * second[0, :, y + v, x + u]).mean() if there else torch.tensor(0.0)
            torch.testing.assert_close(volume[0, number, y, x], expected)


def test_soft_argmin_is_the_mean_of_the_softmax() -> None:
    # weights 1/4, 3/4, 0
    cost = torch.tensor([0.0, -torch.log(torch.tensor(3.0)), 50.0]).view(1, 3, 1, 1)
    assert soft_argmin(cost).item() == pytest.approx(0.75)
    assert soft_argmin(cost[:, :2].half()).dtype == torch.float32
