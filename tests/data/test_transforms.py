"""Sizes, channels and pixels after each transform; the same draw for every image of a sample."""

import pytest
import torch

from cvflow.config import Image
from cvflow.data.transforms import compose
from cvflow.errors import RequestError
from cvflow.registry import Component, build, check, names
from cvflow.types import Sample

SIZE = (32, 24)


def picture(height=50, width=40, channels=3):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (channels, height, width), dtype=torch.uint8, generator=generator)


def transform(name, image=Image(size=SIZE), **options):  # noqa: B008  a frozen model
    return build("transform", Component(name=name, **options), image)


@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("shape", [(50, 40), (1, 300), (300, 1), (24, 32), (32, 24)])
@pytest.mark.parametrize("channels", [1, 3])
def test_fit_gives_the_size_from_any_size(resize, shape, channels):
    fit = compose(Image(size=SIZE, channels=channels, resize=resize), [])
    for given in (1, 3):
        image = fit(Sample("x", {"image": picture(*shape, given)})).images["image"]
        assert image.shape == (channels, *SIZE)
        assert image.dtype == torch.uint8


def test_fit_leaves_the_right_size_alone():
    image = picture(*SIZE)
    assert compose(Image(size=SIZE), [])(Sample("x", {"image": image})).images["image"] is image


def test_pad_keeps_the_aspect_between_black_borders():
    white = torch.full((3, 10, 20), 255, dtype=torch.uint8)
    image = compose(Image(size=(20, 20), resize="pad"), [])(Sample("x", {"image": white})).images["image"]
    assert (image[:, 5:15] == 255).all()
    assert not image[:, :5].any()
    assert not image[:, 15:].any()


def test_crop_keeps_the_middle():
    image = torch.zeros(1, 10, 30, dtype=torch.uint8)
    image[:, :, 10:20] = 255
    assert (compose(Image(size=(10, 10), channels=1, resize="crop"), [])(Sample("x", {"image": image})).images["image"] == 255).all()


def test_stretch_is_antialiased():
    stripes = torch.tensor([0, 255], dtype=torch.uint8).repeat(1, 64, 32)  # one pixel wide
    image = compose(Image(size=(8, 8), channels=1), [])(Sample("x", {"image": stripes})).images["image"]
    assert ((image > 100) & (image < 155)).all()


@pytest.mark.parametrize("name", names("transform"))
def test_random_transforms_follow_the_generator_alike_for_all_images(name):
    sample = Sample("x", {"left": picture(), "right": picture()}, {"label": 3})
    whole = compose(Image(size=SIZE), [transform(name)])
    results = []
    for seed in (0, 0, 1, 2, 3, 4):
        torch.manual_seed(seed)
        changed = whole(sample)
        assert torch.equal(changed.images["left"], changed.images["right"])
        assert changed.images["left"].shape == (3, *SIZE)
        assert changed.target == {"label": 3}
        results.append(changed.images["left"])
    assert torch.equal(results[0], results[1])
    assert any(not torch.equal(results[0], r) for r in results[2:])
    assert torch.equal(sample.images["left"], picture())  # not changed in place


def test_random_crop_is_a_shift_within_the_padding():
    image = picture(*SIZE)
    crop = transform("random_crop", padding=2)
    padded = torch.nn.functional.pad(image, (2, 2, 2, 2))
    shifts = {(t, a): padded[:, t : t + SIZE[0], a : a + SIZE[1]] for t in range(5) for a in range(5)}
    seen = set()
    for _ in range(400):
        result = crop(Sample("x", {"image": image})).images["image"]
        seen |= {k for k, v in shifts.items() if torch.equal(v, result)}
    assert seen == set(shifts)


def test_flip_by_its_probability():
    image = picture(*SIZE)
    for p, expected in ((0.0, image), (1.0, image.flip(-1))):
        assert torch.equal(transform("horizontal_flip", p=p)(Sample("x", {"image": image})).images["image"], expected)


def test_resized_crop_sees_the_whole_resolution():
    """Fit comes after it: from a 640-px image a part is cut before anything is made small."""
    whole = compose(Image(size=(8, 8)), [transform("random_resized_crop", Image(size=(8, 8)), scale=[0.01, 0.01])])
    ramp = torch.arange(0, 256, 0.4)[:640].to(torch.uint8).expand(3, 640, 640)
    image = whole(Sample("x", {"image": ramp})).images["image"]
    assert image.shape == (3, 8, 8)
    assert 0 < int(image.max()) - int(image.min()) < 40


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("random_crop", "padding", -1),
        ("horizontal_flip", "p", 1.5),
        ("rotate", "degrees", 200),
        ("random_resized_crop", "scale", [0.5, 2.0]),
        ("random_resized_crop", "ratio", [2.0, 1.0]),
    ],
)
def test_options_out_of_range_are_faults(name, option, value):
    _, faults = check("transform", Component(name=name, **{option: value}), "train.augment.0")
    assert [f.where.startswith(f"train.augment.0.{option}") for f in faults] == [True]


def test_unknown_transform_is_suggested():
    with pytest.raises(RequestError, match="Did you mean 'horizontal_flip'"):
        transform("horizontal_flop")
