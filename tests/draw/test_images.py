"""Thumbnails are real images of the right size; small ones keep their pixels."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from cvflow.draw import Gallery, Item, Lineups, Section, Strips, block_of, page, thumbnail
from cvflow.draw.images import beside


def opened(uri):
    head, data = uri.split(",")
    image = Image.open(io.BytesIO(base64.b64decode(data)))
    assert head == f"data:image/{image.format.lower()};base64"
    return image


def noise(*shape):
    return np.random.default_rng(0).integers(256, size=shape, dtype=np.uint8)


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 1), (8, 6, 3), (5, 8, 4)])
def test_a_small_image_is_enlarged_pixel_by_pixel(shape):
    array = noise(*shape)
    large = np.asarray(opened(thumbnail(array, side=100)))
    assert np.array_equal(
        large, np.kron(array.squeeze(), np.ones((12, 12) + (1,) * (array.squeeze().ndim - 2), np.uint8))
    )


@pytest.mark.parametrize(
    ("shape", "size"), [((400, 200, 3), (48, 96)), ((100, 1000, 1), (96, 10)), ((3000, 2), (1, 96))]
)
def test_a_large_image_is_reduced_to_the_side(shape, size):
    image = opened(thumbnail(noise(*shape), side=96))
    assert image.size == size
    assert image.format == "JPEG"


def test_colours_survive_the_reduction():
    array = np.zeros((300, 300, 3), np.uint8)
    array[..., 0] = 200
    assert np.abs(np.asarray(opened(thumbnail(array))).astype(int) - [200, 0, 0]).max() < 6


def test_the_same_image_gives_the_same_text():
    assert thumbnail(noise(300, 200, 3)) == thumbnail(noise(300, 200, 3))


@pytest.mark.parametrize("array", [np.zeros((4, 4, 3), np.float32), noise(4, 4, 2), noise(4), noise(0, 4, 3)])
def test_what_is_no_image_is_refused(array):
    with pytest.raises(ValueError, match="expected HxWxC uint8"):
        thumbnail(array)


@pytest.mark.parametrize("mode", ["L", "RGB", "P", "CMYK"])
def test_encoded_images_are_drawn_as_arrays_are(mode):
    buffer = io.BytesIO()
    Image.fromarray(noise(20, 30, 3)).convert(mode).save(buffer, "TIFF")
    ((uri, item),) = Gallery([Item(buffer.getvalue(), "c")], side=60).cards
    assert opened(uri).size == (60, 40)
    assert item.caption == "c"


def test_strips_have_as_many_pictures_as_columns():
    image = noise(8, 8, 3)
    ((name, cells),) = Strips(["original", "epoch 1"], [("a.png", [image, image[:4]])]).lines
    assert (name, [said for _, said in cells]) == ("a.png", ["a.png, original", "a.png, epoch 1"])
    assert [opened(uri).size for uri, _ in cells] == [(96, 96), (96, 48)]
    with pytest.raises(ValueError, match=r"a.png: got 1 images, expected 2"):
        Strips(["original", "epoch 1"], [("a.png", [image])])


def test_a_lineup_says_of_each_picture_what_it_is():
    row = [
        Item(noise(8, 8, 1), "s1"),
        Item(noise(8, 8, 1), "s1 0.91", "good"),
        Item(noise(8, 8, 1), "s2 <0.9>", "bad"),
    ]
    block = block_of({"figure": "lineups", "columns": ["image", "1", "2"], "rows": [row, row[:2]]}, "Nearest")
    html = page("t", [Section("s", [block])])
    assert html.count("<img") == 5
    assert '<td class="good"><img' in html
    assert "s2 &lt;0.9&gt;" in html
    assert opened(block.lines[0][0][0]).size == (96, 96)
    with pytest.raises(ValueError, match="row of 3 images, expected at most 2"):
        Lineups(["image", "1"], [row])


def test_equal_drawings_are_shown_once_and_others_beside_each_other():
    image = noise(4, 6, 3)
    assert beside(image, image.copy()) is image
    assert beside(image, image, image + 1).shape == (4, 26, 3)


def test_a_gallery_of_wide_pictures_gives_them_twice_the_room():
    assert Gallery([Item(noise(40, 40, 3))], side=50).width == 50
    assert Gallery([Item(noise(40, 40, 3)), Item(noise(40, 84, 3))], side=50).width == 100
