"""Test-time views: what each shows, how they multiply, where their maps belong, how they are evaluated."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.transforms.v2 import functional as TF

from cvflow.annotations import mask
from cvflow.annotations.image import encode_png
from cvflow.config import Image, Recipe
from cvflow.dataset.prepared import PreparedDataset
from cvflow.engine.evaluate import evaluate
from cvflow.engine.job import Job, make_job
from cvflow.engine.views import UNIT, Looking, View, as_it_is, make_views
from cvflow.loading.loader import eval_batches
from cvflow.ops.place import mirrored
from cvflow.registry import Component, build
from cvflow.tasks.base import BaseTask
from cvflow.types import Raw

SIZE = (8, 12)
IMAGE = Image(size=SIZE)
Make = Callable[..., Any]


def views(*names: Any) -> tuple[View, ...]:
    return make_views([Component.model_validate(name) for name in names], IMAGE)


def picture(size: tuple[int, int] = SIZE, seed: int = 0) -> Tensor:
    return torch.randint(256, (3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def test_no_views_is_the_plain_look() -> None:
    assert views() == (View(),)
    assert View().whole(SIZE) == SIZE
    assert torch.equal(View()(picture(), SIZE), picture())


def test_five_crops_are_torchvision_s_of_the_image_enlarged() -> None:
    five = views({"name": "five_crops", "scale": 1.25})
    assert {view.whole(SIZE) for view in five} == {(10, 15)}
    whole = picture((10, 15))
    shown = [view(whole, SIZE) for view in five]
    top_left, top_right, bottom_left, bottom_right, _ = TF.five_crop(whole, list(SIZE))
    assert torch.equal(shown[0], whole[:, 1:9, 1:13]), "the centre comes first"
    for one, other in zip(shown[1:], (top_left, top_right, bottom_left, bottom_right), strict=True):
        assert torch.equal(one, other)


def test_views_multiply_as_ten_crops() -> None:
    ten = views({"name": "five_crops", "scale": 1.25}, "horizontal_flip")
    assert len(ten) == 10
    whole = picture((10, 15))
    assert torch.equal(ten[3](whole, SIZE), ten[2](whole, SIZE).flip(-1))
    other_order = views("horizontal_flip", {"name": "five_crops", "scale": 1.25})
    ours, theirs = ({view(whole, SIZE).numpy().tobytes() for view in each} for each in (ten, other_order))
    assert ours == theirs


@pytest.mark.parametrize("scale", [1.01, 8 / 7, 1.3, 1.77, 2.0])
@pytest.mark.parametrize("size", [(8, 12), (24, 24), (31, 33), (224, 224)])
def test_every_crop_lies_inside_and_has_the_size(scale: float, size: tuple[int, int]) -> None:
    for view in build("view", Component(name="five_crops", scale=scale), Image(size=size)):
        whole = torch.full((3, *view.whole(size)), 9, dtype=torch.uint8)
        assert view(whole, size).shape == (3, *size)
        assert view(whole, size).min() == 9


def test_scales_enlarge_about_the_centre_or_leave_black_borders() -> None:
    plain, near, far = views({"name": "scales", "factors": [1, 2, 0.5]})
    assert plain == View()
    assert near.whole(SIZE) == (16, 24)
    assert torch.equal(near(picture((16, 24)), SIZE), picture((16, 24))[:, 4:12, 6:18])
    assert far.whole(SIZE) == (4, 6)
    shown = far(picture((4, 6)), SIZE)
    assert torch.equal(shown[:, 2:6, 3:9], picture((4, 6)))
    assert shown.sum() == picture((4, 6)).sum()


def test_colour_pca_shifts_up_and_down_and_moves_nothing() -> None:
    found = views({"name": "colour_pca", "strength": 0.5, "components": 2})
    assert len(found) == 5
    grey = torch.full((3, *SIZE), 128, dtype=torch.uint8)
    shown = [view(grey, SIZE)[:, 0, 0].float() for view in found]
    assert torch.equal(shown[0], torch.full((3,), 128.0))
    assert torch.allclose(shown[1] + shown[2], torch.full((3,), 256.0))
    assert (shown[1] - 128).abs().max() > 10
    assert found[1](torch.zeros(1, *SIZE, dtype=torch.uint8), SIZE).shape == (1, *SIZE)
    assert found[1](torch.full((3, *SIZE), 255, dtype=torch.uint8), SIZE).dtype == torch.uint8


@pytest.mark.parametrize(
    "names",
    [
        ["horizontal_flip"],
        [{"name": "five_crops", "scale": 1.25}, "horizontal_flip"],
        [{"name": "scales", "factors": [0.5, 2.0]}],
    ],
)
def test_a_map_goes_back_to_where_it_was_seen(names: list[Any]) -> None:
    rows, columns = torch.meshgrid(torch.arange(80.0), torch.arange(120.0), indexing="ij")
    truth = torch.stack([rows, columns])[None]
    for view in views(*names):
        whole = nn.functional.interpolate(truth, view.whole((80, 120)), mode="bilinear", align_corners=False)
        back = view.undo(view(whole[0], (80, 120))[None])
        assert back.shape == truth.shape
        inside = ~back.isnan()
        left, top, right, bottom = (
            view.place.back(UNIT).boxes(torch.tensor([[0.0, 0.0, 1.0, 1.0]]))[0].clamp(0, 1)
        )
        seen = float((right - left) * (bottom - top))
        assert inside.float().mean() == pytest.approx(seen, abs=0.03)
        assert (back - truth)[inside].abs().quantile(0.95) < 1.5, "pixels"


def test_maps_are_averaged_over_the_views_that_saw_the_place() -> None:
    task, five = BaseTask(), views({"name": "five_crops", "scale": 1.25})
    raws = [
        {"map": torch.full((2, 1, *SIZE), float(i)), "scores": torch.full((2, 3), float(i))} for i in range(5)
    ]
    merged = task.merge(raws, five)
    assert torch.equal(merged["scores"], torch.full((2, 3), 2.0))
    assert merged["map"][0, 0, 0, 0] == 1, "the top left corner was seen by its crop alone"
    assert merged["map"][0, 0, 4, 6] == 2
    assert not merged["map"].isnan().any()


def test_a_model_that_sees_one_side_gives_the_mean_of_both(
    digits: PreparedDataset, recipe: Callable[..., Recipe], session: Make
) -> None:
    class Side(nn.Module):
        """Class 0 by how light the left half is."""

        def forward(self, images: Tensor) -> Tensor:
            left = images[:, :, :, : images.shape[3] // 2].float().mean((1, 2, 3)) / 64
            return torch.cat([left[:, None], torch.zeros(len(images), 9, device=images.device)], 1)

    job = make_job(recipe(), digits, session())
    job = Job(job.recipe, job.task, digits, Side(), job.session)
    both = views("horizontal_flip")
    reader, looking = digits.split("val"), Looking(job.task, job.recipe, both)
    (row_batch,) = eval_batches(looking, reader, as_it_is, len(reader), 0, 1)
    assert row_batch.batch is not None
    batch = row_batch.batch
    left, right = (
        job.task.raw(job.task.outputs(job.model, part), part)["probabilities"]
        for part in looking.apart(batch)
    )
    assert not torch.allclose(left, right)
    kept = evaluate(job, "val", 7, keep_predictions=True, views=both)
    assert [p.id for p in kept.predictions] == batch.ids[::2]
    assert torch.allclose(
        torch.tensor([p.values["probabilities"] for p in kept.predictions]), (left + right) / 2, atol=1e-6
    )
    plain = evaluate(job, "val", 7, keep_predictions=True)
    assert torch.allclose(
        torch.tensor([p.values["probabilities"] for p in plain.predictions]), left, atol=1e-6
    )
    assert kept.metrics["loss"] == pytest.approx(plain.metrics["loss"]), "losses are of the first view"


def test_the_same_from_loader_processes_and_on_every_share(
    digits: PreparedDataset, recipe: Callable[..., Recipe], session: Make
) -> None:
    job = make_job(recipe(), digits, session())
    looking = pickle.loads(
        pickle.dumps(
            Looking(
                job.task,
                job.recipe,
                make_views([Component(name="five_crops"), Component(name="colour_pca")], job.recipe.image),
            )
        )
    )
    rows = digits.split("val")

    def answers(world_size: int, loader_workers: int) -> dict[str, bytes]:
        found = {}
        for rank in range(world_size):
            for batch in eval_batches(looking, rows, as_it_is, 8, rank, world_size, loader_workers):
                assert batch.batch is not None
                first, *others = looking.apart(batch.batch)
                raw: Raw = looking.merged(
                    job.model, job.task.raw(job.task.outputs(job.model, first), first), others
                )
                found |= dict(
                    zip(
                        first.ids,
                        map(bytes, map(torch.Tensor.numpy, raw["probabilities"].detach())),
                        strict=True,
                    )
                )
        return found

    job.model.eval()
    one = answers(1, 0)
    assert len(one) == len(rows)
    assert one == answers(2, 0) == answers(1, 2)


def painted_row(size: tuple[int, int]) -> dict[str, Any]:
    """An image whose light pixels are those of class 1, with its mask and the light rectangle's box."""
    labels = np.zeros(size, np.uint8)
    labels[size[0] // 4 : size[0] // 2, size[1] // 3 : size[1] // 2] = 1
    box = [float(size[1] // 3), float(size[0] // 4), float(size[1] // 2), float(size[0] // 2)]
    return {
        "id": "x",
        "image": encode_png((labels[..., None] * 200).repeat(3, 2)),
        "mask": mask.encode(labels),
        "label": 0,
        "box": box,
    }


@pytest.mark.parametrize("resize", ["stretch", "pad", "crop"])
@pytest.mark.parametrize(
    "names", [["horizontal_flip"], [{"name": "five_crops", "scale": 1.25}, "horizontal_flip"]]
)
def test_annotations_are_those_of_what_a_view_shows_and_answers_come_back_to_the_original(
    names: list[Any], resize: str
) -> None:
    """The network answers with what it sees: mirrored, cut and fitted, it lies on the original again."""
    image, row = Image(size=(64, 64), resize=resize), painted_row((96, 120))  # type: ignore[arg-type]
    recipe = Recipe.model_validate(
        {"task": "segmentation", "data": {"format": "digit_scenes"}, "image": image.model_dump()}
    )
    task = build("task", recipe.task)
    looking = Looking(task, recipe, make_views([Component.model_validate(name) for name in names], image))
    batch = looking.collate(list(looking.samples(row)))
    seen = (batch.images["image"][:, 0] > 100).long()
    for shown, labels in zip(seen, batch.targets["mask"].long(), strict=True):
        known = labels != mask.VOID
        assert (shown[known] != labels[known]).float().mean() < 0.03
    raws = [{"light": part.images["image"][:, :1].float() / 200} for part in looking.apart(batch)]
    placed = looking.apart(batch)[0].placed[0]
    back = placed.map(task.merge(raws, looking.views)["light"][0])[0]
    truth = torch.from_numpy(mask.decode(row["mask"]))
    columns = slice(12, 108) if resize == "crop" else slice(None)  # what the crop kept
    assert ((back > 0.5).long() != truth)[:, columns].float().mean() < 0.03


def test_boxes_are_cut_off_where_a_view_ends() -> None:
    recipe = Recipe.model_validate(
        {"task": "localization", "data": {"format": "digit_boxes"}, "image": {"size": (64, 64)}}
    )
    looking = Looking(
        build("task", recipe.task),
        recipe,
        views({"name": "five_crops", "scale": 2.0}, "horizontal_flip")[2:6],
    )
    samples = list(looking.samples(painted_row((64, 96))))
    boxes = [sample.target["box"].as_subclass(Tensor)[0].tolist() for sample in samples]
    assert boxes[0] == [pytest.approx(2 * 64 * 32 / 96, abs=0.1), 32, 64, 64], (
        "the upper left quarter, twice as large"
    )
    assert boxes[1] == pytest.approx([64 - boxes[0][2], 32, 64 - boxes[0][0], 64]), "mirrored"
    assert boxes[2][0] == boxes[2][2], "nothing of it in the upper right quarter"


def test_one_view_that_is_not_the_plain_one_is_put_back_as_well() -> None:
    recipe = Recipe.model_validate(
        {"task": "segmentation", "data": {"format": "digit_scenes"}, "image": {"size": (64, 64)}}
    )
    looking = Looking(build("task", recipe.task), recipe, (View(mirrored(UNIT)),))
    ramp = torch.arange(64.0).expand(1, 1, 64, 64)
    assert torch.equal(looking.merged(nn.Identity(), {"light": ramp}, [])["light"], ramp.flip(-1))
