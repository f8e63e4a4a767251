"""Annotations follow the image through every transform: what is painted on a pixel stays on it."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import max_pool2d
from torchvision.tv_tensors import BoundingBoxes, Mask

from cvflow.config import Image
from cvflow.effects import IMAGES_ALONE, effects_of
from cvflow.loading.transforms import compose
from cvflow.ops.labels import VOID
from cvflow.ops.place import Place
from cvflow.registry import Component, build, get, names
from cvflow.types import Sample

SIZE = (40, 48)
MOVING = {
    "horizontal_flip": {"p": 1.0},
    "vertical_flip": {"p": 1.0},
    "random_crop": {"padding": 14},
    "random_resized_crop": {"scale": [0.3, 1.0]},
    "rotate": {"degrees": 90},
    "zoom": {"scale": [0.5, 2.0]},
}
ALONE = {name for name in names("transform") if IMAGES_ALONE in effects_of(get("transform", name))}


def transform(name, **options):
    return build("transform", Component(name=name, **options), Image(size=SIZE))


def painted(left, top, width, height, size=SIZE):
    """A bright rectangle on black, its mask and its box."""
    image, mask = torch.zeros(3, *size, dtype=torch.uint8), torch.zeros(size, dtype=torch.uint8)
    rows, columns = slice(top, top + height), slice(left, left + width)
    image[:, rows, columns], mask[rows, columns] = 200, 1
    box = BoundingBoxes(
        [[left, top, left + width, top + height]], dtype=torch.float32, format="XYXY", canvas_size=size
    )
    return Sample("x", {"image": image}, {"mask": Mask(mask), "box": box, "label": 3})


def grown(shape, by=1):
    """A pixel more on each side; less for by=-1."""
    grow = max_pool2d((shape if by > 0 else ~shape).float()[None, None], 3, 1, 1)[0, 0] > 0
    return grow if by > 0 else ~grow


def edges(shape):
    """xyxy of what is set."""
    rows, columns = shape.any(1).nonzero(), shape.any(0).nonzero()
    return torch.tensor([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]).float()


@pytest.mark.parametrize("name", MOVING)
@settings(max_examples=40, deadline=None)
@given(st.integers(0, 30), st.integers(0, 24), st.integers(6, 18), st.integers(6, 16), st.integers(0, 2**31))
def test_mask_and_box_lie_where_the_painted_rectangle_does(name, left, top, width, height, seed):
    torch.manual_seed(seed)
    after = transform(name, **MOVING[name])(painted(left, top, width, height))
    seen, mask = after.images["image"][0] > 100, after.target["mask"].as_subclass(torch.Tensor)
    box = after.target["box"].as_subclass(torch.Tensor)[0]
    assert mask.shape == SIZE
    assert set(mask.unique().tolist()) <= {0, 1, VOID}
    assert after.target["label"] == 3
    assert not (grown(mask == 1, -1) & ~seen).any()
    assert not (seen & ~grown(mask == 1)).any()
    assert not (after.images["image"].amax(0)[mask == VOID] > 100).any()
    if not grown(seen, -1).any():
        return
    least, most = edges(seen), torch.tensor([SIZE[1], SIZE[0]] * 2)
    assert (box[:2] <= least[:2] + 2).all()
    assert (box[2:] >= least[2:] - 2).all()
    if name != "rotate" or (
        (box > 0).all() and (box < most).all()
    ):  # turned and cut off, it is the box about the whole, cut off
        assert (box - least).abs().max() <= 2


@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
def test_fit_moves_them_too_and_borders_are_void(resize):
    after = compose(Image(size=(64, 64), resize=resize), [])(painted(12, 10, 20, 16))
    mask, seen = after.target["mask"].as_subclass(torch.Tensor), after.images["image"][0] > 100
    assert not (grown(mask == 1, -1) & ~seen).any()
    assert not (seen & ~grown(mask == 1)).any()
    assert bool((mask == VOID).any()) == (resize == "pad")
    assert (after.target["box"].as_subclass(torch.Tensor)[0] - edges(seen)).abs().max() <= 1
    assert after.target["box"].canvas_size == (64, 64)


def test_a_box_that_leaves_the_image_has_no_area_any_more():
    torch.manual_seed(0)
    crop = transform("random_crop", padding=39)
    boxes = [crop(painted(0, 0, 6, 6)).target["box"].as_subclass(torch.Tensor)[0] for _ in range(60)]
    gone = [bool((box[2:] <= box[:2]).any()) for box in boxes]
    assert any(gone)
    assert not all(gone)
    assert all((box >= 0).all() for box in boxes)


@pytest.mark.parametrize("name", sorted(set(names("transform")) - set(MOVING) - ALONE))
def test_what_moves_no_pixel_moves_no_annotation(name):
    sample = painted(4, 4, 10, 10)
    torch.manual_seed(1)
    after = transform(name)(sample)
    assert all(after.target[key] is sample.target[key] for key in sample.target)


def test_a_mirrored_pair_changes_its_names():
    left, right = painted(2, 2, 8, 8).images["image"], painted(20, 2, 8, 8).images["image"]
    pair = Sample("x", {"left": left, "right": right}, {"label": 1}, swaps={"left": "right", "right": "left"})
    after = transform("horizontal_flip", p=1.0)(pair)
    assert torch.equal(after.images["left"], right.flip(-1))
    assert torch.equal(after.images["right"], left.flip(-1))
    assert after.target == {"label": 1}


def test_those_that_move_images_alone_are_known():
    assert "rand_augment" in ALONE


@pytest.mark.parametrize("name", sorted(MOVING))
@pytest.mark.parametrize("seed", range(4))
def test_a_transform_states_where_the_original_lies(name: str, seed: int) -> None:
    """The box moved by the stated place is the box that moved with the pixels, cut off at the border."""
    sample = painted(8, 8, 22, 20)
    torch.manual_seed(seed)
    after = transform(name, **MOVING[name])(sample)
    before = sample.target["box"].as_subclass(torch.Tensor).float()
    place = after.placed or Place(SIZE)
    height, width = after.images["image"].shape[1:]
    expected = place.boxes(before).clamp(min=0).minimum(torch.tensor([width, height, width, height]))
    torch.testing.assert_close(
        after.target["box"].as_subclass(torch.Tensor).float(), expected, atol=1.0, rtol=0
    )
