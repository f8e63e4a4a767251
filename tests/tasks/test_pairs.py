"""Stereo and flow: answers at the originals' size and in their pixels, merged views, files,
pictures; and that the networks learn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cvflow.annotations import KINDS
from cvflow.annotations.files import flo, kitti, pfm
from cvflow.annotations.image import ImageFault, encode_png
from cvflow.config import Recipe
from cvflow.engine.views import View, make_views
from cvflow.errors import RequestError
from cvflow.formats.built_in.layered_scenes import LayeredScenes
from cvflow.ops.place import Place
from cvflow.recipe.refusals import view_faults
from cvflow.registry import Component, build
from cvflow.tasks.base import Task
from cvflow.types import DatasetInfo, Prediction, Row, Sample
from tests.fixtures.tasks import losses_of, raw_of, truths_of

TASKS = {"stereo": ("cost_volume_stereo", "disparity"), "flow": ("correlation_flow", "flow")}
SMALL = {
    "stereo": {"max_disparity": 12, "channels": 16, "feature_stride": 2, "depth": 1},
    "flow": {"channels": (8, 16, 16), "width": 16},
}
SIZE = (32, 48)


def recipe(task: str, **more: Any) -> Recipe:
    data = {
        "task": task,
        "data": {"format": "layered_scenes"},
        "image": {"size": SIZE},
        "model": {"name": TASKS[task][0], **SMALL[task]},
    }
    return Recipe.model_validate({**data, **more})


def info(task: str) -> DatasetInfo:
    return DatasetInfo(task, (), {"train": 4}, (0.5,) * 3, (0.25,) * 3, "0" * 32)


def made(task: str) -> Task:
    found: Task = build("task", Component(name=task))
    found.bind(info(task))
    return found


def rows(task: str, count: int = 5, size: tuple[int, int] = SIZE) -> list[dict[str, Any]]:
    reader = LayeredScenes(None, pairs=task, count=count, size=size, most=8.0)  # type: ignore[arg-type]  # one of two words
    return [{"id": r.id, **{k: read() for k, read in (*r.images.items(), *r.maps.items())}} for r in reader]


def batch_of(task: str, samples: list[Sample], **more: Any) -> Any:
    fit = made(task).transforms(recipe(task, **more), "test")
    return made(task).collate([fit(sample) for sample in samples])


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("resize", ["stretch", "pad", "crop"])
def test_a_right_map_comes_back_as_the_truth(task: str, resize: str) -> None:
    """The transformed truth, taken for the network's answer, has a small error at the original size."""
    truths = truths_of(made(task), rows(task, size=(48, 96)))
    samples = [sample for row in rows(task, size=(48, 96)) for sample in made(task).samples(row)]
    batch = batch_of(task, samples, image={"size": (64, 80), "resize": resize})
    column = TASKS[task][1]
    assert set(batch.targets) == {column}
    answers = made(task).decode({column: batch.targets[column].nan_to_num(0)}, batch)
    for answer, expected in zip(answers, truths, strict=True):
        found, truth = KINDS[column].decode(answer.values[column]), expected[column]
        assert found.shape == truth.shape
        seen = slice(18, 78) if resize == "crop" else slice(None)  # 48 x 60 of 48 x 96
        gap = np.abs(found - truth)[:, seen]
        assert np.median(gap) < 0.15
        assert np.mean(gap > 1) < 0.15  # at the layers' borders


@pytest.mark.parametrize("task", TASKS)
def test_values_scale_with_the_size(task: str) -> None:
    column, channels = TASKS[task][1], 1 if task == "stereo" else 2
    batch = batch_of(task, list(made(task).samples(rows(task)[0])))
    batch.placed = [
        Place((64, 24), ((2.0, 0.0, 0.0), (0.0, 0.5, 0.0)))
    ]  # the model sees it half as high and twice as wide
    (answer,) = made(task).decode({column: torch.full((1, channels, *SIZE), 6.0)}, batch)
    found = KINDS[column].decode(answer.values[column])
    assert found.shape[:2] == (64, 24)
    assert np.unique(found.reshape(-1, channels), axis=0).tolist() == [[3.0, 12.0][:channels]]


@pytest.mark.parametrize("task", TASKS)
def test_views_are_merged_in_the_pixels_of_the_whole(task: str) -> None:
    """Views that are right in their own pixels are right together."""
    column, channels = TASKS[task][1], 1 if task == "stereo" else 2
    chosen = ["five_crops"] if task == "stereo" else ["five_crops", "horizontal_flip"]
    views = make_views([Component(name=name) for name in chosen], recipe(task).image)
    true = torch.tensor([4.0, -2.0][:channels]).view(1, channels, 1, 1).expand(1, channels, *SIZE)
    merged = made(task).merge([{column: seen(true, view)} for view in views], views)[column]
    torch.testing.assert_close(merged, true, atol=1e-4, rtol=0)


def seen(true: Tensor, view: View) -> Tensor:
    """What a network that errs nowhere says to a view: a shift of the whole image is longer in an
    enlarged part.
    """
    factors = [view.place.matrix[0][0], view.place.matrix[1][1]]
    return true * torch.tensor(factors[: true.shape[1]]).view(1, -1, 1, 1)


def test_a_mirrored_stereo_view_is_refused() -> None:
    (fault,) = view_faults(made("stereo"), [Component(name="horizontal_flip")], "--view")
    assert fault.fix == "Leave horizontal_flip out."
    assert view_faults(made("flow"), [Component(name="horizontal_flip")], "--view") == []


def test_images_of_different_sizes_are_a_fault() -> None:
    images = {
        "first": encode_png(np.zeros((4, 6, 3), np.uint8)),
        "second": encode_png(np.zeros((4, 5, 3), np.uint8)),
    }
    with pytest.raises(ImageFault, match="first and second of different sizes: 5x4, 6x4"):
        list(made("flow").samples({"id": "a", **images}))


@pytest.mark.parametrize("task", TASKS)
def test_a_row_without_a_map_is_answered(task: str) -> None:
    column = TASKS[task][1]
    row = {k: v for k, v in rows(task)[0].items() if column not in k}
    batch = batch_of(task, list(made(task).samples(row)))
    net = made(task).build(recipe(task), info(task)).eval()
    with torch.no_grad():
        (answer,) = made(task).decode(raw_of(made(task), net, batch), batch)
    assert KINDS[column].decode(answer.values[column]).shape[:2] == SIZE


def test_files_are_the_fields() -> None:
    disparity, flow = np.linspace(1, 60, 12, dtype=np.float32).reshape(3, 4), np.ones((3, 4, 2), np.float32)
    files = made("stereo").answer.files(Prediction("a", {"disparity": KINDS["disparity"].encode(disparity)}))
    assert np.array_equal(pfm.read(files[".pfm"]), disparity)
    assert np.abs(kitti.read_disparity(files[".png"]) - disparity).max() <= 1 / 512
    files = made("flow").answer.files(Prediction("a", {"flow": KINDS["flow"].encode(flow)}))
    assert np.array_equal(flo.read(files[".flo"]), flow)
    assert np.array_equal(kitti.read_flow(files[".png"]), flow)


@pytest.mark.parametrize("task", TASKS)
def test_a_rows_map_and_an_answer_are_drawn_and_put_in_words(task: str) -> None:
    (row, *_), column = rows(task), TASKS[task][1]
    (sample,) = made(task).samples(row)
    image = sample.images[made(task).schema.images[0]].permute(1, 2, 0).numpy()
    assert made(task).answer.draw(image, row).shape == (2 * SIZE[0], SIZE[1], 3)
    assert made(task).answer.caption(row).startswith(column)
    (truth,) = truths_of(made(task), [row])
    assert made(task).answer.caption(truth) == made(task).answer.caption(row)
    answer = Prediction(row["id"], {column: KINDS[column].encode(truth[column] + 1)})
    assert made(task).answer.quality(answer, truth) == pytest.approx(
        -1 if task == "stereo" else -(2**0.5), abs=1e-5
    )


@pytest.mark.parametrize("task", TASKS)
def test_any_size_and_grey_images_go_in(task: str) -> None:
    torch.manual_seed(0)
    net = made(task).build(recipe(task, image={"size": (37, 51), "channels": 1}), info(task)).eval()
    first, second = torch.randint(0, 256, (2, 1, 1, 37, 51), dtype=torch.uint8)
    answers = net(first, second)
    assert {answer.shape[2:] for answer in answers} == {(37, 51)}
    assert len(answers) > 1


@pytest.mark.parametrize("task", TASKS)
def test_places_are_not_rounded_in_mixed_precision(task: str) -> None:
    torch.manual_seed(0)
    net = made(task).build(recipe(task), info(task))
    batch = batch_of(task, list(made(task).samples(rows(task)[0])))
    with torch.autocast("cpu", torch.bfloat16):
        answers = net(*batch.images.values())
        (loss,) = losses_of(made(task), net, batch).values()
    assert {answer.dtype for answer in answers} == {torch.float32}
    loss.sum.backward()


@pytest.mark.parametrize("task", TASKS)
def test_the_best_constant_answer(task: str) -> None:
    """Its error is that of the medians by NumPy, and near the least of all constants."""
    own, column, train = made(task), TASKS[task][1], rows(task)
    answer = own.answer.guess(train)(train[0])
    constant = KINDS[column].decode(answer[column])
    truths = np.stack([np.atleast_3d(truth[column]) for truth in truths_of(own, train)])
    assert len(np.unique(constant.reshape(-1, truths.shape[-1]), axis=0)) == 1
    assert np.allclose(
        constant.reshape(-1, truths.shape[-1])[0], np.median(np.median(truths, axis=(1, 2)), axis=0)
    )
    errors = [
        np.abs(truths - other).mean() for other in (constant.reshape(-1, truths.shape[-1])[0], -8.0, 8.0)
    ]
    assert errors[0] == min(errors)


@pytest.mark.parametrize("task", TASKS)
def test_a_model_of_another_kind_is_refused(task: str) -> None:
    other = {"stereo": "correlation_flow", "flow": "cost_volume_stereo"}[task]
    with pytest.raises(
        RequestError,
        match=f"model.name: got '{other}', expected a model of .* Type model.name={TASKS[task][0]}",
    ):
        made(task).build(recipe(task, model=other), info(task))


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_the_network_learns_a_handful_of_pairs(task: str) -> None:
    """Error on what it was trained on well below that of the best constant, or of no motion."""
    torch.manual_seed(0)
    own, column = made(task), TASKS[task][1]
    few = rows(task, count=6)
    batch = batch_of(task, [sample for row in few for sample in own.samples(row)])
    net = own.build(recipe(task), info(task))
    optimizer = torch.optim.AdamW(net.parameters(), lr=4e-3)
    for _ in range(60):
        (loss,) = losses_of(own, net, batch).values()
        optimizer.zero_grad()
        (loss.sum / loss.count).backward()
        optimizer.step()
    net.train()  # batch statistics: sixty steps do not settle the running ones
    with torch.no_grad():
        error = measured(own, raw_of(own, net, batch), batch, few)
    truth = batch.targets[column]
    trivial = truth.median() if task == "stereo" else torch.tensor(0.0)
    assert error < 0.45 * measured(own, {column: trivial.expand_as(truth)}, batch, few)


def measured(task: Task, raw: Mapping[str, Tensor], batch: Any, rows: Sequence[Row]) -> float:
    metric = task.answer.metric(info("any"))
    metric.update(task.decode(raw, batch), truths_of(task, rows))
    return metric.compute()["epe"]
