"""Recall, identification and verification against scikit-learn, and against loops over every pair."""

from __future__ import annotations

import json
import math
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from scipy.interpolate import interp1d
from scipy.optimize import brentq
from sklearn.metrics import roc_auc_score, roc_curve
from sklearn.neighbors import NearestNeighbors

from cvflow.draw import block_of
from cvflow.metrics.embedding import EmbeddingMetric, chances
from cvflow.metrics.neighbours import all_pairs, whole_numbers
from cvflow.metrics.verification import FARS, STEP, Verification, equal_error
from cvflow.types import Prediction


def draw(
    identities: int, images: int, spread: float, dim: int = 6, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Vectors about a centre for each identity."""
    random = np.random.default_rng(seed)
    label = np.repeat(np.arange(identities), images)
    return random.normal(size=(identities, dim))[label] + spread * random.normal(
        size=(len(label), dim)
    ), label


def fed(vectors: np.ndarray, label: np.ndarray, order: Any = None) -> EmbeddingMetric:
    metric = EmbeddingMetric([f"p{i}" for i in range(int(label.max()) + 1)])
    for i in range(len(label)) if order is None else order:
        metric.update(
            [Prediction(f"id{i:04d}", {"embedding": vectors[i].tolist()})], [{"identity": int(label[i])}]
        )
    return metric


def cosines(vectors: np.ndarray) -> np.ndarray:
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit @ unit.T


@pytest.mark.parametrize("spread", [0.3, 0.8, 3.0])
def test_recall_is_that_of_the_nearest_neighbours(spread: float) -> None:
    vectors, label = draw(12, 5, spread)
    nearest = (
        NearestNeighbors(n_neighbors=6, metric="cosine")
        .fit(vectors)
        .kneighbors(vectors, return_distance=False)
    )
    hits = [label[[j for j in row if j != i]] == label[i] for i, row in enumerate(nearest)]
    found = fed(vectors, label).compute()
    for k in (1, 5):
        assert found[f"recall_at_{k}"] == pytest.approx(np.mean([hit[:k].any() for hit in hits]))


def test_identification_by_the_first_image_of_each() -> None:
    vectors, label = draw(25, 4, 0.9)
    similarity = cosines(vectors)
    gallery = [int(np.flatnonzero(label == i)[0]) for i in range(25)]
    ranks = [
        int((similarity[i, gallery] > similarity[i, gallery[label[i]]]).sum())
        for i in range(100)
        if i not in gallery
    ]
    found = fed(vectors, label).compute()
    assert found["rank_1"] == pytest.approx(np.mean(np.array(ranks) < 1))
    assert found["rank_5"] == pytest.approx(np.mean(np.array(ranks) < 5))
    random = np.random.default_rng(0)
    drawn = [not (random.permutation(24)[:19] < rank).any() for rank in ranks for _ in range(300)]
    assert found["one_shot_20_way"] == pytest.approx(np.mean(drawn), abs=0.01)
    assert "one_shot_20_way" not in fed(*draw(19, 2, 1.0)).compute()


def test_the_chance_of_a_one_shot_trial() -> None:
    assert chances(np.array([0, 1, 2]), 4, 2).tolist() == [1.0, 3 / 6, 1 / 6]
    assert chances(np.array([0, 3]), 19, 19).tolist() == [1.0, 0.0]


@pytest.mark.parametrize("spread", [0.3, 0.8, 3.0])
def test_verification_is_scikit_learns_over_all_pairs(spread: float) -> None:
    vectors, label = draw(10, 6, spread)
    similarity = cosines(vectors)
    pairs = list(combinations(range(len(label)), 2))
    genuine = np.array([label[i] == label[j] for i, j in pairs])
    score = np.array([similarity[i, j] for i, j in pairs])
    found = fed(vectors, label).compute()

    stepped = np.floor((score + 1) * STEP)
    far, tar, _ = roc_curve(genuine, stepped, drop_intermediate=False)
    assert found["auc"] == pytest.approx(roc_auc_score(genuine, stepped), abs=1e-6)
    assert found["auc"] == pytest.approx(roc_auc_score(genuine, score), abs=1e-4)
    for f in (0.1, 0.01, 0.001):
        assert found[f"tar_at_far_{f}"] == pytest.approx(
            max(t for a, t in zip(far, tar, strict=True) if a <= f), abs=1e-4
        )
    rate = brentq(lambda x: 1 - x - interp1d(far, tar)(x), 0, 1)
    assert found["equal_error_rate"] == pytest.approx(rate, abs=1e-4)
    accepted = score >= found["eer_threshold"] - 1 / STEP
    assert accepted[~genuine].mean() == pytest.approx(found["equal_error_rate"], abs=0.01)
    assert (~accepted[genuine]).mean() == pytest.approx(found["equal_error_rate"], abs=0.01)


def test_a_rate_is_of_as_many_impostors_as_it_needs() -> None:
    """2 identities of n images each make n * n impostor pairs."""
    known = {
        n: [f for f in FARS if not math.isnan(fed(*draw(2, n, 0.5)).compute()[f"tar_at_far_{f}"])]
        for n in (3, 4, 10, 32)
    }
    assert known == {3: [], 4: [0.1], 10: [0.1, 0.01], 32: [0.1, 0.01, 0.001]}


def test_the_equal_error_by_hand() -> None:
    # FAR 0, 0, 1/4, 1, 1 and TAR 0, 1/2, 3/4, 3/4, 1 as the threshold falls: they meet at FAR 1/4 = 1 - TAR.
    rate, place = equal_error(np.array([0, 0, 0.25, 1, 1]), np.array([0, 0.5, 0.75, 0.75, 1]))
    assert (rate, place) == (0.25, 2)
    # halfway: FAR 1/3, TAR 2/3
    rate, _ = equal_error(np.array([0, 0, 1]), np.array([0, 0.5, 1]))
    assert rate == pytest.approx(1 / 3)


def test_the_same_at_any_order_and_division() -> None:
    vectors, label = draw(9, 4, 0.7)
    vectors = vectors.astype(np.float32)
    whole = fed(vectors, label)
    turned = np.random.default_rng(1).permutation(len(label))
    parts = [fed(vectors, label, turned[i::3]) for i in range(3)]
    merged = EmbeddingMetric(whole.identities)
    for part in parts:
        merged.merge(part.state())
    assert merged.compute() == whole.compute()
    assert merged.details() == whole.details()


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, label = draw(9, 4, 0.7)
    one = fed(vectors, label)
    before = one.compute(), one.details()
    monkeypatch.setattr("cvflow.metrics.neighbours.BLOCK", 5 * len(label))
    other = fed(vectors, label)
    assert (other.compute(), other.details()) == before


@pytest.mark.parametrize("value", [[1.0, 1.0], [0.0, 0.0], [math.nan, 1.0], [math.inf, 0.0]])
def test_a_network_that_says_always_the_same_scores_nothing(value: list[float]) -> None:
    metric = EmbeddingMetric(["a", "b"])
    metric.update(
        [Prediction(str(i), {"embedding": value}) for i in range(6)], [{"identity": i // 3} for i in range(6)]
    )
    found = metric.compute()
    assert (found["recall_at_1"], found["rank_1"], found["auc"], found["equal_error_rate"]) == (
        0.0,
        0.0,
        0.5,
        0.5,
    )


def test_identities_with_one_image_are_no_query_and_of_nothing_all_is_nan() -> None:
    metric = EmbeddingMetric(["a", "b", "c"])
    answers = [
        Prediction(str(i), {"embedding": v})
        for i, v in enumerate([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [-1.0, 0.0]])
    ]
    metric.update(answers, [{"identity": i} for i in (0, 0, 1, 2)])
    found = metric.compute()
    assert (found["recall_at_1"], found["rank_1"], found["equal_error_rate"], found["auc"]) == (
        1.0,
        1.0,
        0.0,
        1.0,
    )
    assert all(map(math.isnan, EmbeddingMetric(["a"]).compute().values()))
    assert EmbeddingMetric(["a"]).details() == {}
    alone = EmbeddingMetric(["a"])
    alone.update(answers[:1], [{"identity": 0}])
    assert math.isnan(alone.compute()["recall_at_1"])


def test_products_of_whole_numbers_are_exact() -> None:
    vectors, label = draw(3, 20, 0.5, dim=64)
    whole = np.stack([whole_numbers(v) for v in vectors])
    exact = whole.astype(object) @ whole.astype(object).T
    assert (exact == (whole @ whole.T).astype(object)).all()
    assert isinstance(all_pairs(whole, label).pairs, Verification)


def test_the_figures_can_be_drawn_and_name_the_neighbours() -> None:
    vectors, label = draw(9, 4, 0.9)
    found = json.loads(json.dumps(fed(vectors, label).details()))
    assert not block_of(found["roc"]).empty
    assert not block_of(found["similarities"], "Similarities").empty
    for side in found["similarities"]["series"].values():
        assert sum(share for _, share in side) == pytest.approx(1)
    similarity = cosines(vectors)
    rows = found["nearest_neighbours"]["rows"]
    assert len(rows) == 8
    for probe, *nearest in rows:
        own = int(probe["id"][2:])
        order = [f"id{i:04d}" for i in np.argsort(-similarity[own], kind="stable") if i != own]
        assert [item["id"] for item in nearest] == order[:5]
        assert [item["tone"] for item in nearest] == [
            "good" if label[int(i[2:])] == label[own] else "bad" for i in order[:5]
        ]
