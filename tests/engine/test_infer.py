"""Rows in, answers out: one for each row, in its order, whatever its image is and whatever it is called."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from cvflow.annotations.image import decode, encode_png
from cvflow.config import Recipe
from cvflow.dataset.prepared import PreparedDataset
from cvflow.engine.export import TrainedModel
from cvflow.engine.infer import Predictor
from cvflow.engine.job import make_job
from cvflow.engine.session import Session
from cvflow.registry import Component
from cvflow.types import Row


@pytest.fixture
def predictor(
    digits: PreparedDataset, recipe: Callable[..., Recipe], session: Callable[..., Session]
) -> Predictor:
    job = make_job(recipe(), digits, session())
    return Predictor(
        TrainedModel(job.recipe, job.task, digits.info, job.model.eval(), "", ""), torch.device("cpu")
    )


@pytest.fixture
def rows(digits: PreparedDataset) -> list[Row]:
    reader = digits.split("test")
    return [{"id": reader[i]["id"], "image": reader[i]["image"]} for i in range(10)]


def test_each_row_has_its_answer_at_any_batch_size(predictor: Predictor, rows: list[Row]) -> None:
    alone = [predictor.batch([row])[0] for row in rows]
    for size in (3, 100):
        together = [answer for batch in predictor.rows(iter(rows), size) for answer in batch]
        assert [a["id"] for a in together] == [row["id"] for row in rows]
        assert [a["class"] for a in together] == [a["class"] for a in alone]
        np.testing.assert_allclose(
            [a["probabilities"] for a in together], [a["probabilities"] for a in alone], atol=1e-6
        )


def test_an_unreadable_image_is_answered_with_its_fault(predictor: Predictor, rows: list[Row]) -> None:
    rows[1] = {"id": "bad", "image": b"no image"}
    rows[4] = {"id": "empty", "image": b""}
    rows[5] = {"id": "none", "image": None}
    answers = predictor.batch(rows)
    assert [a["id"] for a in answers] == [row["id"] for row in rows]
    assert [a["error"] for a in answers[:6]] == [None, "not an image", None, None, "empty file", "empty file"]
    assert set(answers[1]) == {"id", "error"}
    assert "class" in answers[2]


def test_views_are_merged_row_by_row(predictor: Predictor, rows: list[Row]) -> None:
    rows[3] = {"id": "bad", "image": b"no image"}
    mirrored = [
        row if row["id"] == "bad" else {**row, "image": encode_png(decode(row["image"])[:, ::-1])}
        for row in rows
    ]
    both = Predictor(predictor.trained, torch.device("cpu"), views=[Component(name="horizontal_flip")]).batch(
        rows
    )
    assert [a["id"] for a in both] == [row["id"] for row in rows]
    for one, other, mean in zip(predictor.batch(rows), predictor.batch(mirrored), both, strict=True):
        assert one["error"] == mean["error"]
        if mean["error"] is None:
            expected = np.add(one["probabilities"], other["probabilities"]) / 2
            np.testing.assert_allclose(mean["probabilities"], expected, atol=1e-6)


def test_what_predicts_can_be_trained_again(predictor: Predictor, rows: list[Row]) -> None:
    model, recipe = predictor.trained.model, predictor.trained.recipe
    model.register_forward_hook(lambda *seen: None)  # so that it is not copied
    turned = recipe.model_copy(update={"train": recipe.train.model_copy(update={"channels_last": True})})
    again = Predictor(replace(predictor.trained, recipe=turned), torch.device("cpu"))
    assert [a["class"] for a in again.batch(rows)] == [a["class"] for a in predictor.batch(rows)]
    assert not any(weight.is_inference() for weight in [*model.parameters(), *again.model.parameters()])


def test_a_batch_of_unreadable_images(predictor: Predictor) -> None:
    assert predictor.batch([{"id": "a", "image": b"x"}]) == [{"id": "a", "error": "not an image"}]


def test_rows_that_share_an_id_keep_their_own_answers(predictor: Predictor, rows: list[Row]) -> None:
    apart = predictor.batch(rows)
    alike = predictor.batch([{**row, "id": "same"} for row in rows] + [{"id": "same", "image": b"x"}])
    assert [a.get("probabilities") for a in alike] == [*(a["probabilities"] for a in apart), None]


def test_large_and_coloured_images_are_fitted(predictor: Predictor) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    (answer,) = predictor.batch([{"id": "a", "image": encode_png(pixels)}])
    assert sum(answer["probabilities"]) == pytest.approx(1, abs=1e-6)
