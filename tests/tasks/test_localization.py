"""Localization as a task: rows to samples, the joint loss, boxes in the original's pixels, mirrored
and cropped views.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cvflow.annotations.image import encode_png
from cvflow.config import Recipe
from cvflow.engine.views import UNIT, View
from cvflow.errors import RequestError
from cvflow.ops.place import Place, mirrored
from cvflow.tasks.localization import Localization
from cvflow.types import Batch, DatasetInfo, Prediction, Row
from tests.fixtures.tasks import losses_of, raw_of, truths_of

INFO = DatasetInfo("localization", ("ant", "bee"), {"train": 3}, (0.5,) * 3, (0.25,) * 3, "")


class Seer(nn.Module):
    """Finds what is white; it is a bee where it is wider than high."""

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        height, width = images.shape[2:]
        boxes = []
        for image in images[:, 0]:
            rows, columns = torch.where(image > 127)
            boxes.append(
                torch.stack(
                    [
                        columns.min() / width,
                        rows.min() / height,
                        (columns.max() + 1) / width,
                        (rows.max() + 1) / height,
                    ]
                )
            )
        boxes_B4 = torch.stack(boxes)
        bee_B = 20 * ((boxes_B4[:, 2] - boxes_B4[:, 0]) - (boxes_B4[:, 3] - boxes_B4[:, 1]))
        return {"logits": torch.stack([-bee_B, bee_B], 1), "boxes": boxes_B4}


def task(**options: Any) -> Localization:
    made = Localization(**options)
    made.bind(INFO)
    return made


def row(height: int, width: int, box: tuple[int, int, int, int], label: int) -> Row:
    image = np.zeros((height, width, 3), np.uint8)
    image[box[1] : box[3], box[0] : box[2]] = 255
    return {
        "id": f"{height}x{width}",
        "path": "a.png",
        "image": encode_png(image),
        "label": label,
        "box": list(map(float, box)),
    }


ROWS = [row(64, 64, (8, 8, 40, 24), 1), row(48, 96, (30, 10, 50, 40), 0), row(32, 20, (4, 6, 10, 30), 0)]


def batch_of(resize: str = "stretch") -> Batch:
    sections = {
        "task": "localization",
        "data": {"format": "digits"},
        "image": {"size": (64, 64), "resize": resize},
    }
    fit = task().transforms(Recipe.model_validate(sections), "test")
    return task().collate([fit(sample) for row in ROWS for sample in task().samples(row)])


@pytest.mark.parametrize("resize", ["stretch", "pad"])
def test_boxes_lie_in_the_original_s_pixels(resize: str) -> None:
    made, batch = task(), batch_of(resize)
    answers = made.decode(raw_of(made, Seer(), batch), batch)
    for answer, given in zip(answers, ROWS, strict=True):
        np.testing.assert_allclose(answer.values["box"], given["box"], atol=1.5)
    metric = made.answer.metric(INFO)
    metric.update(answers, truths_of(made, ROWS))
    found = metric.compute()
    assert found["box_accuracy"] == 1
    assert found["accuracy"] == found["class_accuracy"]
    assert [made.answer.quality(a, t) > 0.8 for a, t in zip(answers, truths_of(made, ROWS), strict=True)] == [
        True
    ] * 3


def test_the_loss_is_joint_and_in_fractions_of_what_the_model_sees() -> None:
    batch = batch_of()
    heavy = task(box_weight=3.0)
    losses, raw = losses_of(heavy, Seer(), batch), raw_of(heavy, Seer(), batch)
    assert list(losses) == ["class_loss", "box_loss"]
    assert losses["class_loss"].count == losses["box_loss"].count == 3
    assert 0 <= losses["box_loss"].sum < 0.3
    once = losses_of(task(), Seer(), batch)["box_loss"].sum
    torch.testing.assert_close(losses["box_loss"].sum, 3 * once)
    assert torch.equal(raw["boxes"], raw_of(task(), Seer(), batch)["boxes"])


def test_a_mirrored_view_and_a_crop_are_put_back() -> None:
    box = torch.tensor([[0.1, 0.2, 0.4, 0.8]])
    flipped = torch.tensor([[0.6, 0.2, 0.9, 0.8]])
    torch.testing.assert_close(mirrored(UNIT).back(UNIT).boxes(flipped), box)
    crop = Place(UNIT, ((2.0, 0.0, 0.0), (0.0, 2.0, -0.5)))
    torch.testing.assert_close(
        crop.back(UNIT).boxes(torch.tensor([[0.0, 0.0, 1.0, 1.0]])), torch.tensor([[0, 0.25, 0.5, 0.75]])
    )
    raws = [
        {"probabilities": torch.eye(2)[:1], "boxes": box},
        {"probabilities": torch.eye(2)[1:], "boxes": flipped},
    ]
    merged = task().merge(raws, [View(), View(mirrored(UNIT))])
    assert merged["probabilities"].tolist() == [[0.5, 0.5]]
    torch.testing.assert_close(merged["boxes"], box)


def test_right_is_class_and_box() -> None:
    made, truth = task(), {"label": 1, "box": np.array([0, 0, 10, 10], np.float32)}
    said = [("bee", [0, 0, 10, 6]), ("bee", [0, 0, 10, 4]), ("ant", [0, 0, 10, 10])]
    answers = [
        Prediction("a", {"class": name, "probabilities": [0.4, 0.6], "box": box}) for name, box in said
    ]
    assert [made.answer.right(answer, truth) for answer in answers] == [True, False, False]
    assert made.answer.caption(answers[0].values) == "bee 60%"


def test_the_answer_that_looks_at_no_image() -> None:
    said = task().answer.guess(ROWS)(ROWS[1])
    assert said["class"] == "ant"
    assert said["probabilities"] == [2 / 3, 1 / 3]
    left = np.mean([8 / 64, 30 / 96, 4 / 20])
    assert said["box"][0] == pytest.approx(left * 96, rel=1e-5)


def test_boxes_are_drawn_with_their_names() -> None:
    drawn = task().answer.draw(np.zeros((64, 64, 1), np.uint8), ROWS[0])
    assert drawn.shape == (64, 64, 3)
    assert drawn[15, 8].tolist() == drawn[15, 39].tolist() == [255, 64, 48]
    assert drawn[60, 60].max() == 0


def test_a_classifier_is_refused() -> None:
    sections = {"task": "localization", "data": {"format": "digits"}, "image": {"size": (32, 32)}}
    with pytest.raises(
        RequestError, match="model.name: got 'classifier', expected a model of this task: one of"
    ):
        task().build(Recipe.model_validate(sections), INFO)
