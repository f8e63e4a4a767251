"""Sizes, channels and pixels after each transform; the same draw for every image of a sample."""

import pytest
import torch

from cvflow.config import Image
from cvflow.errors import RequestError
from cvflow.loading.transforms import compose
from cvflow.loading.transforms.random_crop import shifted
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
    assert (
        compose(Image(size=(10, 10), channels=1, resize="crop"), [])(Sample("x", {"image": image})).images[
            "image"
        ]
        == 255
    ).all()


def test_stretch_is_antialiased():
    # one pixel wide
    stripes = torch.tensor([0, 255], dtype=torch.uint8).repeat(1, 64, 32)
    image = compose(Image(size=(8, 8), channels=1), [])(Sample("x", {"image": stripes})).images["image"]
    assert ((image > 100) & (image < 155)).all()


@pytest.mark.parametrize("name", names("transform"))
def test_random_transforms_follow_the_generator_alike_for_all_images(name):
    sample = Sample("x", {"left": picture(), "right": picture()}, {"label": 3})
    whole = compose(Image(size=SIZE), [transform(name)])
    results = []
    for seed in (0, 0, *range(1, 12)):
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


def changed(name, image, count=1, **options):
    """The image, or as many as that, after the transform; draws from seed 0."""
    torch.manual_seed(0)
    change = transform(name, **options)
    results = [change(Sample("x", {"image": image})).images["image"] for _ in range(count)]
    return results if count > 1 else results[0]


@pytest.mark.parametrize(("name", "axis"), [("horizontal_flip", -1), ("vertical_flip", -2)])
def test_flip_by_its_probability(name, axis):
    image = picture(*SIZE)
    for p, expected in ((0.0, image), (1.0, image.flip(axis))):
        assert torch.equal(changed(name, image, p=p), expected)
    flipped = sum(torch.equal(i, image.flip(axis)) for i in changed(name, image, 300, p=0.3))
    assert 60 < flipped < 120


@pytest.mark.parametrize("name", names("transform"))
def test_grey_images_stay_grey(name):
    grey = Image(size=SIZE, channels=1)
    if name == "colour_pca":
        with pytest.raises(RequestError, match="colour_pca on grey images"):
            transform(name, grey)
        return
    torch.manual_seed(0)
    whole = compose(grey, [transform(name, grey)])
    for _ in range(12):
        assert whole(Sample("x", {"image": picture()})).images["image"].shape == (1, *SIZE)


def test_zoom_scales_about_the_centre():
    image = torch.zeros(3, 40, 40, dtype=torch.uint8)
    image[:, 10:30, 10:30] = 200
    for scale, side in ((1.0, 20), (0.5, 10), (1.5, 30)):
        result = changed("zoom", image, scale=[scale, scale])
        inside = (40 - side) // 2 + 1
        assert (result[:, inside:-inside, inside:-inside] == 200).all()
        assert (result > 100).float().mean().item() == pytest.approx(side**2 / 1600, abs=0.02)
    widths = {int((z[0, 20] > 100).sum()) for z in changed("zoom", image, 100, scale=[0.5, 1.5])}
    assert min(widths) <= 12
    assert max(widths) >= 28


def test_jitter_changes_what_it_is_told():
    image = picture(*SIZE)
    assert torch.equal(changed("colour_jitter", image, brightness=0, contrast=0, saturation=0, hue=0), image)
    alone = {"contrast": 0, "saturation": 0, "hue": 0}
    brighter = [
        i.float().mean() / image.float().mean()
        for i in changed("colour_jitter", image // 2, 200, brightness=0.5, **alone)
    ]
    assert 0.24 <= min(brighter) < 0.3
    assert 0.7 < max(brighter) <= 0.76
    red = torch.zeros(3, 4, 4, dtype=torch.uint8)
    red[0] = 200
    hues = changed("colour_jitter", red, 100, brightness=0, contrast=0, saturation=0, hue=0.5)
    assert all((i.amax(0) == 200).all() for i in hues)
    assert {int(i[:, 0, 0].argmax()) for i in hues} == {0, 1, 2}


def test_colour_pca_shifts_along_the_components_by_their_size():
    """The shifts' covariance is the eigenvectors' with the eigenvalues squared, times the variance
    of the draws.
    """
    image = torch.full((3, 2, 2), 128, dtype=torch.uint8)
    given = [[0.06, 0.05, 0.04], [0.05, 0.06, 0.05], [0.04, 0.05, 0.06]]
    shifts = (
        torch.stack(
            [i[:, 0, 0].double() - 128 for i in changed("colour_pca", image, 4000, std=0.5, covariance=given)]
        )
        / 255
    )
    expected = 0.25 * torch.tensor(given, dtype=torch.float64) @ torch.tensor(given, dtype=torch.float64)
    torch.testing.assert_close(shifts.T @ shifts / len(shifts), expected, rtol=0.1, atol=2e-5)
    assert torch.equal(changed("colour_pca", image, std=0), image)
    published = torch.stack([i[:, 0, 0].double() - 128 for i in changed("colour_pca", image, 4000)]) / 255
    first = published @ torch.tensor([-0.5675, -0.5808, -0.5836], dtype=torch.float64)
    assert first.std().item() == pytest.approx(0.1 * 0.2175, rel=0.05)


def test_colour_pca_shifts_every_pixel_alike_and_stays_within_the_range():
    image = picture(*SIZE)
    shift = changed("colour_pca", image, std=0.5).int() - image.int()
    free = (image > 80) & (image < 175)
    assert all(len(shift[c][free[c]].unique()) == 1 for c in range(3))
    assert any(i.max() == 255 for i in changed("colour_pca", image, 20, std=5))


def test_rand_augment_by_its_strength():
    image = picture(*SIZE)
    assert torch.equal(changed("rand_augment", image, operations=0), image)
    kinds = {i.numpy().tobytes() for i in changed("rand_augment", image, 200, operations=1)}
    assert len(kinds) > 12

    def change(magnitude):
        return sum(
            (i.float() - image.float()).abs().mean()
            for i in changed("rand_augment", image, 100, magnitude=magnitude)
        )

    assert change(0) < change(5) < change(20)


@pytest.mark.parametrize("fill", ["noise", "grey", "black"])
@pytest.mark.parametrize("name", ["random_erasing", "cutout"])
def test_a_box_is_hidden(name, fill):
    white = torch.full((3, 32, 24), 255, dtype=torch.uint8)
    areas = []
    for image in changed(name, white, 200, p=1.0, fill=fill):
        hidden = (image != 255).any(0)
        areas.append(hidden.float().mean().item())
        rows, columns = hidden.any(1).nonzero(), hidden.any(0).nonzero()
        box = hidden[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        assert box.float().mean() > 0.95  # noise is white now and then
        if fill != "noise":
            assert image[:, hidden].unique().tolist() == [128 if fill == "grey" else 0]
    # 12 of 32 x 24 pixels a side, at the border a quarter of it at least
    if name == "cutout":
        assert max(areas) == pytest.approx(144 / 768, abs=0.01)
        assert min(areas) < 0.07
    else:
        assert 0.01 < min(areas) < 0.06
        assert 0.25 < max(areas) < 0.36


def test_erasing_by_its_probability_and_not_where_no_box_fits():
    image = picture(*SIZE)
    assert 60 < sum(not torch.equal(i, image) for i in changed("random_erasing", image, 300, p=0.3)) < 120
    assert torch.equal(changed("random_erasing", image, p=1.0, area=[1.0, 1.0]), image)


def test_grayscale_has_three_equal_channels():
    image = picture(*SIZE)
    grey = changed("grayscale", image, p=1.0)
    assert torch.equal(grey[0], grey[1])
    assert torch.equal(grey[1], grey[2])
    weights = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)
    torch.testing.assert_close(grey[0].float(), (image * weights).sum(0), atol=1.5, rtol=0)


def test_blur_spreads_by_sigma():
    dot = torch.zeros(1, 41, 41, dtype=torch.uint8)
    dot[:, 20, 20] = 255
    for sigma in (0.5, 1.0):
        spread = changed("blur", dot, sigma=[sigma, sigma], p=1.0)[0].double()
        at = torch.arange(41) - 20.0
        assert ((spread.sum(0) * at**2).sum() / spread.sum()).item() == pytest.approx(sigma**2, rel=0.25)
    tiny = picture(2, 2)
    assert changed("blur", tiny, sigma=[9, 9], p=1.0).shape == tiny.shape


def test_resized_crop_sees_the_whole_resolution():
    """Fit comes after it: from a 640-px image a part is cut before anything is made small."""
    whole = compose(
        Image(size=(8, 8)), [transform("random_resized_crop", Image(size=(8, 8)), scale=[0.01, 0.01])]
    )
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
        ("zoom", "scale", [0.0, 1.0]),
        ("zoom", "scale", [1.2, 0.8]),
        ("colour_jitter", "hue", 0.6),
        ("colour_jitter", "brightness", -0.1),
        ("colour_pca", "covariance", [[1, 2, 3], [4, 5, 6], [7, 8, 9]]),
        ("colour_pca", "covariance", [[1, 0], [0, 1]]),
        ("rand_augment", "magnitude", 31),
        ("random_erasing", "area", [0.5, 0.2]),
        ("cutout", "side", 0),
        ("cutout", "fill", "white"),
        ("blur", "sigma", [-1, 1]),
    ],
)
def test_options_out_of_range_are_faults(name, option, value):
    _, faults = check("transform", Component(name=name, **{option: value}), "train.augment.0")
    assert faults
    assert all(f.where.startswith(f"train.augment.0.{option}") for f in faults)


def test_unknown_transform_is_suggested():
    with pytest.raises(RequestError, match="Did you mean 'horizontal_flip'"):
        transform("horizontal_flop")


def test_a_shift_is_a_crop_of_the_bordered_image():
    image = torch.randint(0, 256, (3, 9, 7), dtype=torch.uint8)
    for padding in (2, 12):
        bordered = torch.nn.functional.pad(image, [padding] * 4)
        for top in range(2 * padding + 1):
            for left in range(2 * padding + 1):
                assert torch.equal(
                    shifted(image, padding - top, padding - left), bordered[:, top : top + 9, left : left + 7]
                )
