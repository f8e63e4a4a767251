"""What the model sees and the original: there and back, for every way to fit."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.tv_tensors import BoundingBoxes, Mask

from cvflow.config import Image
from cvflow.loading.transforms import compose
from cvflow.ops.place import Place
from cvflow.types import Sample

SIDES = st.integers(3, 60)


def upright(size, scale, offset=(0.0, 0.0)):
    """A place by scale and offset, each (y, x)."""
    return Place(size, ((scale[1], 0.0, offset[1]), (0.0, scale[0], offset[0])))


def scene(height, width):
    """Two halves of the image, the box of the right one, and a ramp that says where a pixel is."""
    image = torch.linspace(0, 255, width).to(torch.uint8).expand(3, height, width).contiguous()
    mask = torch.zeros(height, width, dtype=torch.uint8)
    mask[:, width // 2 :] = 1
    box = BoundingBoxes(
        [[width // 2, 0, width, height]], dtype=torch.float32, format="XYXY", canvas_size=(height, width)
    )
    return Sample("x", {"image": image}, {"mask": Mask(mask), "box": box})


@settings(max_examples=60, deadline=None)
@given(SIDES, SIDES, SIDES, SIDES, st.sampled_from(["stretch", "crop", "pad"]))
def test_fit_says_how_the_original_lies_in_it(height, width, to_height, to_width, resize):
    fitted = compose(Image(size=(to_height, to_width), resize=resize), [])(scene(height, width))
    placed = fitted.placed
    assert placed.size == (height, width)
    back = placed.map(fitted.images["image"].float())
    assert back.shape == (3, height, width)
    assert placed.map(fitted.target["mask"].as_subclass(torch.Tensor)[None]).shape == (1, height, width)
    box = placed.boxes_back(fitted.target["box"].as_subclass(torch.Tensor))[0]
    assert (box >= 0).all()
    assert (box <= torch.tensor([width, height, width, height])).all()
    if resize != "crop":  # nothing was cut off: the box comes back
        torch.testing.assert_close(box, torch.tensor([width // 2, 0.0, width, height]), atol=1e-3, rtol=0)


def test_a_map_comes_back_exactly_where_the_model_saw_it_enlarged():
    labels = torch.from_numpy(np.random.default_rng(0).integers(0, 5, (7, 9), dtype=np.uint8))
    for size, resize in (((14, 18), "stretch"), ((21, 40), "pad"), ((21, 27), "crop")):
        sample = Sample("x", {"image": torch.zeros(3, 7, 9, dtype=torch.uint8)}, {"mask": Mask(labels)})
        fitted = compose(Image(size=size, resize=resize), [])(sample)
        assert torch.equal(
            fitted.placed.map(fitted.target["mask"].as_subclass(torch.Tensor)[None])[0], labels
        )


def test_borders_that_were_padded_are_gone_and_what_was_cut_off_is_the_nearest_edge():
    padded = upright((4, 8), (1.0, 1.0), (2.0, 0.0))
    map_CHW = torch.full((1, 8, 8), 9.0)
    map_CHW[:, 2:6] = 1
    assert torch.equal(padded.map(map_CHW), torch.ones(1, 4, 8))
    cut = upright((2, 6), (1.0, 1.0), (0.0, -2.0))
    row = torch.tensor([[[10.0, 20.0], [30.0, 40.0]]])
    expected = torch.tensor([[[10.0, 10, 10, 20, 20, 20], [30, 30, 30, 40, 40, 40]]])
    assert torch.equal(cut.map(row), expected)
    assert torch.equal(cut.map(row.int()), expected.int())


def test_a_map_comes_back_bilinearly_between_pixel_centres():
    ramp = torch.arange(4.0).expand(1, 4, 4)
    assert upright((4, 8), (1.0, 0.5)).map(ramp)[0, 0].tolist() == [
        0,
        0.25,
        0.75,
        1.25,
        1.75,
        2.25,
        2.75,
        3,
    ]


@pytest.mark.parametrize(
    "placed",
    [
        upright((37, 61), (16 / 37, 24 / 61)),
        upright((5, 7), (16 / 5, 24 / 7)),
        upright((40, 30), (0.4, 0.8), (0.0, 0.0)),
        upright((30, 80), (0.5, 0.5), (0.5, -8.0)),
    ],
)
@pytest.mark.parametrize("together", [2**22, 6000, 1], ids=["all", "few", "one"])
def test_labels_come_back_as_those_of_all_maps_at_once(placed, together, monkeypatch):
    monkeypatch.setattr("cvflow.ops.place.MAPS_AT_ONCE", together)
    maps = torch.randn(12, 16, 24, generator=torch.Generator().manual_seed(0)).softmax(0)
    maps[7, :8] = maps[3, :8]  # of equal ones the first
    assert torch.equal(placed.labels(maps), placed.map(maps).argmax(0).to(torch.uint8))


def test_labels_of_many_classes_take_the_memory_of_a_few_maps(monkeypatch):
    """60 classes at 3 megapixels are 720 MB at once."""
    most, whole = [], Place.map
    monkeypatch.setattr(Place, "map", lambda self, x: most.append(whole(self, x).nbytes) or whole(self, x))
    labels = upright((1500, 2000), (0.02, 0.02)).labels(
        torch.eye(60)[:, :30].reshape(60, 5, 6).repeat_interleave(6, 1)
    )
    assert labels.shape == (1500, 2000)
    assert max(most) == 1500 * 2000 * 4


@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
def test_an_image_of_the_right_size_stays_where_it_is(resize):
    sample = scene(6, 8)
    fitted = compose(Image(size=(6, 8), resize=resize), [])(sample)
    assert fitted.placed == Place((6, 8))
    assert fitted.target["mask"] is sample.target["mask"]
