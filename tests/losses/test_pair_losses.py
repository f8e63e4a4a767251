"""Contrastive and triplet losses against loops over every pair and triplet."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
import torch
from torch import Tensor

from cvflow.errors import RequestError
from cvflow.losses.pairs import distances, pairs_of
from cvflow.registry import Component, build, check
from cvflow.types import Loss

EACH: list[dict[str, Any]] = [
    {"name": "triplet", "mining": "hard"},
    {"name": "triplet", "mining": "semi_hard"},
    {"name": "contrastive"},
]
IDENTITY = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2])


def vectors(seed: int = 0) -> Tensor:
    points = torch.randn(len(IDENTITY), 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.nn.functional.normalize(points, dim=1).float().requires_grad_()


def losses(embeddings: Tensor, identity: Tensor = IDENTITY, **component: Any) -> dict[str, Loss]:
    found: dict[str, Loss] = build("pair_loss", Component(**component))(
        pairs_of(embeddings, embeddings, identity, identity)
    )
    return found


def mean(loss: Loss) -> float:
    return float(loss.sum.detach() / loss.count)


def apart(a: Tensor, b: Tensor) -> float:
    return float((a - b).detach().norm())


def test_distances_and_their_gradient_where_there_is_none() -> None:
    points = vectors()
    expected = torch.tensor([[apart(a, b) for b in points] for a in points])
    assert torch.allclose(
        distances(points, points) - torch.eye(8) * distances(points, points).diag(), expected, atol=1e-5
    )
    same = torch.ones(3, 2, requires_grad=True)
    distances(same, same).sum().backward()
    assert same.grad is not None
    assert torch.isfinite(same.grad).all()


@pytest.mark.parametrize("margin", [0.5, 1.3])
def test_contrastive_over_all_pairs(margin: float) -> None:
    points = vectors()
    each = [(IDENTITY[i] == IDENTITY[j], apart(points[i], points[j])) for i, j in permutations(range(8), 2)]
    genuine = [d**2 / 2 for same, d in each if same]
    impostor = [max(0, margin - d) ** 2 / 2 for same, d in each if not same]
    found = losses(points, name="contrastive", margin=margin)
    assert mean(found["genuine_loss"]) == pytest.approx(sum(genuine) / len(genuine), rel=1e-4)
    assert mean(found["impostor_loss"]) == pytest.approx(sum(impostor) / len(impostor), rel=1e-4)


def test_contrastive_by_hand() -> None:
    # 60 degrees between two of one identity: d = 1.
    # 90 degrees to the third: d = sqrt(2), beyond a margin of 1.
    points = torch.tensor([[1.0, 0, 0], [0.5, 0.75**0.5, 0], [0, 0, 1]])
    found = losses(points, torch.tensor([0, 0, 1]), name="contrastive")
    assert mean(found["genuine_loss"]) == pytest.approx(0.5)
    assert mean(found["impostor_loss"]) == 0.0
    wide = losses(points, torch.tensor([0, 0, 1]), name="contrastive", margin=2.0)
    assert mean(wide["impostor_loss"]) == pytest.approx((2 - 2**0.5) ** 2 / 2)


@pytest.mark.parametrize("margin", [0.3, "soft"])
def test_batch_hard_takes_the_farthest_own_and_the_nearest_other(margin: float | str) -> None:
    points, expected = vectors(), []
    for i in range(8):
        own = max(apart(points[i], points[j]) for j in range(8) if j != i and IDENTITY[j] == IDENTITY[i])
        other = min(apart(points[i], points[j]) for j in range(8) if IDENTITY[j] != IDENTITY[i])
        expected.append(
            torch.tensor(own - other).exp().log1p().item()
            if margin == "soft"
            else max(0.0, own - other + float(margin))
        )
    found = losses(points, name="triplet", mining="hard", margin=margin)["loss"]
    assert found.count == 8
    assert mean(found) == pytest.approx(sum(expected) / 8, rel=1e-4)


def test_semi_hard_takes_the_nearest_beyond_the_pair_else_the_farthest() -> None:
    points, expected, beyond = vectors(3), [], []
    for i in range(8):
        others = [apart(points[i], points[j]) for j in range(8) if IDENTITY[j] != IDENTITY[i]]
        for j in range(8):
            if j != i and IDENTITY[j] == IDENTITY[i]:
                own = apart(points[i], points[j])
                beyond.append(any(d > own for d in others))
                expected.append(
                    max(0.0, own - min((d for d in others if d > own), default=max(others)) + 0.2)
                )
    assert {True, False} == set(beyond)
    found = losses(points, name="triplet", mining="semi_hard")["loss"]
    assert found.count == len(expected)
    assert mean(found) == pytest.approx(sum(expected) / len(expected), rel=1e-4)


@pytest.mark.parametrize("component", EACH)
@pytest.mark.parametrize("identity", [[0, 1, 2, 3, 4, 5, 6, 7], [0] * 8])
def test_a_batch_without_triplets_counts_for_nothing_and_has_a_gradient(
    component: dict[str, Any], identity: list[int]
) -> None:
    points = vectors()
    found = losses(points, torch.tensor(identity), **component)
    assert 0 in [int(loss.count) for loss in found.values()]
    sum(loss.sum for loss in found.values()).backward()
    assert points.grad is not None
    assert torch.isfinite(points.grad).all()


@pytest.mark.parametrize("component", EACH)
def test_a_step_against_the_gradient_lessens_the_loss(component: dict[str, Any]) -> None:
    points = vectors()
    before = sum(loss.sum / loss.count for loss in losses(points, **component).values())
    before.backward()
    after = sum(
        loss.sum / loss.count for loss in losses(points.detach() - 0.01 * points.grad, **component).values()
    )
    assert after < before


def test_anchors_in_two_parts_are_as_all_at_once() -> None:
    points = vectors()
    for component in EACH:
        loss = build("pair_loss", Component(**component))
        parts = [
            loss(pairs_of(points[own], points, IDENTITY[own], IDENTITY, own.start))
            for own in (slice(0, 3), slice(3, 8))
        ]
        for name, whole in losses(points, **component).items():
            assert sum(part[name].count for part in parts) == whole.count
            assert sum(part[name].sum.item() for part in parts) == pytest.approx(whole.sum.item(), rel=1e-5)


def test_options_are_checked() -> None:
    assert check("pair_loss", Component(name="triplet", margin="hard"), "task.loss")[1]
    assert check("pair_loss", Component(name="contrastive", margin=3), "task.loss")[1]
    assert not check("pair_loss", Component(name="triplet", margin="soft"), "task.loss")[1]
    with pytest.raises(RequestError, match="one of contrastive, triplet. Did you mean 'triplet'"):
        build("pair_loss", Component(name="tripplet"))
