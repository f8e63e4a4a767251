"""Segmentation as a task: rows to samples, losses, answers at the image's own size, weights,
drawings, files.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.tv_tensors import Mask

from cvflow.annotations import mask
from cvflow.annotations.image import encode_png
from cvflow.config import Recipe
from cvflow.engine.views import UNIT, View
from cvflow.errors import RequestError
from cvflow.ops.place import mirrored
from cvflow.tasks.segmentation import Segmentation
from cvflow.types import Batch, DatasetInfo, Prediction, Row
from tests.fixtures.tasks import losses_of, raw_of, truths_of

CLASSES = ("ground", "cat", "dog")
PIXELS = {"train": {"ground": 800, "cat": 150, "dog": 50}}
INFO = DatasetInfo(
    "segmentation", CLASSES, {"train": 2}, (0.5,) * 3, (0.25,) * 3, "", {"pixel_counts": PIXELS}
)


class Seer(nn.Module):
    """Knows the answer: the red channel is the class, times 100."""

    loss_weights: dict[str, float] = {"aux_loss": 0.5}

    def forward(self, images: Tensor) -> Tensor:
        labels = (images[:, 0].long() / 100).round().long().clamp(max=2)
        return 20 * nn.functional.one_hot(labels, 3).permute(0, 3, 1, 2).float()

    def outputs(self, images: Tensor) -> dict[str, Tensor]:
        return {
            "loss": self(images),
            "aux_loss": torch.zeros(len(images), 3, *images.shape[2:], requires_grad=True),
        }


def task(**options: Any) -> Segmentation:
    made = Segmentation(**options)
    made.bind(INFO)
    return made


def row(height: int, width: int, id: str = "a") -> Row:
    """A cat above a dog on the ground; the first pixels void."""
    labels = np.zeros((height, width), np.uint8)
    labels[height // 4 : height // 2, width // 4 : width // 2] = 1
    labels[height // 2 : height * 3 // 4, width // 4 : width // 2] = 2
    image = np.repeat(labels[..., None] * 100, 3, 2).astype(np.uint8)
    labels[0, :3] = mask.VOID
    return {"id": id, "path": f"{id}.png", "image": encode_png(image), "mask": mask.encode(labels)}


def batch_of(
    made: Segmentation, rows: list[Row], resize: str = "stretch", size: tuple[int, int] = (32, 32)
) -> Batch:
    sections = {
        "task": "segmentation",
        "data": {"format": "digits"},
        "image": {"size": size, "resize": resize},
    }
    fit = made.transforms(Recipe.model_validate(sections), "test")
    return made.collate([fit(sample) for row in rows for sample in made.samples(row)])


def test_rows_become_samples_with_and_without_a_mask() -> None:
    (sample,) = task().samples(row(8, 12))
    assert isinstance(sample.target["mask"], Mask)
    assert np.array_equal(sample.target["mask"].numpy(), mask.decode(row(8, 12)["mask"]))
    (bare,) = task().samples({k: v for k, v in row(8, 12).items() if k != "mask"})
    assert bare.target == {}


@pytest.mark.parametrize("resize", ["stretch", "pad", "crop"])
def test_answers_lie_in_the_original_s_pixels(resize: str) -> None:
    """A model that knows the answer gets nearly every pixel right, at the size of each image; of a
    crop, only what it saw.
    """
    made = task()
    rows = [row(64, 96), row(40, 40, "b"), row(16, 24, "c")]
    batch = batch_of(made, rows, resize)
    assert batch.targets["mask"].shape == (3, 32, 32)
    answers = made.decode(raw_of(made, Seer(), batch), batch)
    metric = made.answer.metric(INFO)
    metric.update(answers, truths_of(made, rows))
    assert [mask.decode(answer.values["mask"]).shape for answer in answers] == [(64, 96), (40, 40), (16, 24)]
    assert metric.compute()["miou"] > 0.85
    assert [made.answer.quality(a, t) > 0.8 for a, t in zip(answers, truths_of(made, rows), strict=True)] == [
        True
    ] * 3


def test_measuring_is_losses_and_forward_in_one() -> None:
    made, batch = task(dice=2.0), batch_of(task(), [row(32, 32)])
    outputs = made.outputs(Seer(), batch)
    losses, raw = made.losses(outputs, batch), made.raw(outputs, batch)
    assert list(losses) == ["loss", "aux_loss", "dice_loss"]
    assert {k: v.sum for k, v in losses.items()} == {
        k: v.sum for k, v in losses_of(made, Seer(), batch).items()
    }
    assert losses["aux_loss"].sum.item() == pytest.approx(0.5 * (32 * 32 - 3) * np.log(3), rel=1e-5)
    assert losses["dice_loss"].count == 3
    assert torch.equal(raw["probabilities"], raw_of(made, Seer(), batch)["probabilities"])


def test_class_weights() -> None:
    assert task().weight_C is None
    weight = task(class_weights="balanced").weight_C
    assert weight is not None
    assert (weight * torch.tensor([0.8, 0.15, 0.05])).sum().item() == pytest.approx(1)
    torch.testing.assert_close(weight, 1000 / (3 * torch.tensor([800.0, 150.0, 50.0])))
    assert task(class_weights={"dog": 5}).weight_C.tolist() == [1, 1, 5]
    with pytest.raises(RequestError, match="Did you mean 'dog'"):
        task(class_weights={"dgo": 5})


def test_views_are_averaged_where_they_belong() -> None:
    made, batch = task(), batch_of(task(), [row(32, 32)])
    plain = raw_of(made, Seer(), batch)
    flipped = {"probabilities": plain["probabilities"].flip(-1)}
    merged = made.merge([plain, flipped], [View(), View(mirrored(UNIT))])
    torch.testing.assert_close(merged["probabilities"], plain["probabilities"])


def test_the_answer_that_looks_at_no_image() -> None:
    rows = [row(8, 12), row(6, 6, "b")]
    answer = task().answer.guess(rows)
    labels = mask.decode(answer(rows[0])["mask"])
    assert labels.shape == (8, 12)
    assert labels.max() == 0


def test_captions_drawings_and_files() -> None:
    made, given = task(), row(16, 16)
    assert made.answer.caption(given) == "ground 87%, cat 6%, dog 6%"
    pixels = np.full((16, 16, 1), 128, np.uint8)
    drawn = made.answer.draw(pixels, given)
    assert drawn.shape == (16, 16, 3)
    assert (drawn[1, 0] != 128).any()
    assert drawn[5, 5].tolist() != drawn[9, 5].tolist() != [128, 128, 128]
    prediction = Prediction("a", {"mask": given["mask"]})
    assert made.answer.files(prediction) == {".png": given["mask"]}
    assert made.answer.quality(prediction, {"mask": mask.decode(given["mask"])}) == 1


def test_a_classifier_is_refused() -> None:
    sections = {"task": "segmentation", "data": {"format": "digits"}, "image": {"size": (32, 32)}}
    with pytest.raises(
        RequestError, match="model.name: got 'classifier', expected a model of this task: one of"
    ):
        task().build(Recipe.model_validate(sections), INFO)
