"""Every odd encoding to plain pixels, every damage to a plain reason."""

import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from cvflow.annotations.image import ImageFault, decode, encode_png


def noise(seed: int, height: int = 12, width: int = 10) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def encoded(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    out = BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def test_rgb_png_comes_back_exact_and_writable():
    image = noise(0)
    pixels = decode(encoded(image))
    assert np.array_equal(pixels, np.asarray(image))
    assert pixels.dtype == np.uint8
    assert pixels.flags.writeable  # torch.from_numpy warns otherwise


def test_jpeg_is_the_standard_decode():
    data = encoded(noise(0, 64, 48), "JPEG", quality=70)
    assert np.array_equal(decode(data), np.asarray(Image.open(BytesIO(data)).convert("RGB")))


def test_grey_and_colour_convert_both_ways():
    grey = noise(0).convert("L")
    assert np.array_equal(decode(encoded(grey)), np.asarray(grey)[..., None].repeat(3, 2))
    assert np.array_equal(decode(encoded(noise(0)), channels=1)[..., 0], np.asarray(grey))


def test_one_bit_image():
    assert set(np.unique(decode(encoded(noise(0).convert("1"))))) == {0, 255}


@pytest.mark.parametrize("format", ["PNG", "TIFF", "PPM"])
def test_sixteen_bits_are_scaled(format):
    wide = np.array([[0, 255, 256], [32768, 65279, 65535]], dtype=np.uint16)
    assert decode(encoded(Image.fromarray(wide), format), channels=1)[..., 0].tolist() == [
        [0, 0, 1],
        [128, 254, 255],
    ]


def test_floating_point_is_refused():
    with pytest.raises(ImageFault, match="floating-point"):
        decode(encoded(Image.fromarray(np.ones((2, 2), np.float32)), "TIFF"))


def test_thirty_two_bits_are_refused():
    with pytest.raises(ImageFault, match="70000"):
        decode(encoded(Image.fromarray(np.full((2, 2), 70000, np.int32)), "TIFF"))


def test_transparency_lies_on_white():
    image = Image.new("RGBA", (2, 1), (10, 20, 30, 0))
    image.putpixel((1, 0), (10, 20, 30, 255))
    assert decode(encoded(image)).tolist() == [[[255, 255, 255], [10, 20, 30]]]


@pytest.mark.parametrize("transparency", [0, b"\x00\xff"])
def test_palette_with_transparency(transparency):
    image = Image.new("P", (2, 1))
    image.putpalette([1, 2, 3, 40, 50, 60])
    image.putpixel((1, 0), 1)
    assert decode(encoded(image, transparency=transparency)).tolist() == [[[255, 255, 255], [40, 50, 60]]]


def test_cmyk_jpeg():
    # cyan 0, magenta and yellow full: red
    image = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    pixel = decode(encoded(image, "JPEG", quality=95))[8, 8].tolist()
    assert pixel[0] > 245
    assert max(pixel[1:]) < 10


def test_exif_turns_the_image_upright():
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    image = noise(0, 8, 4)
    pixels = decode(encoded(image, "PNG", exif=exif))
    assert np.array_equal(pixels, np.rot90(np.asarray(image), -1))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_damaged_exif_is_no_fault():
    data = encoded(noise(0, 16, 16), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xffgarbage")
    assert decode(data).shape == (16, 16, 3)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"not an image at all", "not an image"),
        (encoded(noise(0, 64, 64), "JPEG")[:-400], "truncated"),
        (encoded(noise(0, 64, 64), "PNG")[:-400], "damaged image"),
        (encoded(noise(0, 64, 64), "PNG")[:20], "image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "not an image"),
    ],
)
def test_damage_is_named_plainly(data, reason):
    with pytest.raises(ImageFault, match=reason) as caught:
        decode(data)
    assert "0x" not in str(caught.value)  # same input, same report


def test_over_the_limit_before_pixels_are_read():
    with pytest.raises(ImageFault, match="15000 megapixels, over the limit of 200"):
        decode(_png_header(150_000, 100_000))
    with pytest.raises(ImageFault, match="over the limit of 0.0001"):
        decode(encoded(noise(0)), max_megapixels=1e-4)


def test_below_the_limit_pillow_says_nothing_and_keeps_its_own_limit():
    before = Image.MAX_IMAGE_PIXELS
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(
            ImageFault, match="damaged"
        ):  # 180 MP: past Pillow's own bomb error; its pixels are missing
            decode(_png_header(18_000, 10_000))
    assert before == Image.MAX_IMAGE_PIXELS


def test_threads_do_not_disturb_each_other():
    data = [encoded(noise(i)) for i in range(200)]
    before = Image.MAX_IMAGE_PIXELS
    with ThreadPoolExecutor(8) as pool:
        assert all(np.array_equal(p, np.asarray(noise(i))) for i, p in enumerate(pool.map(decode, data)))
    assert before == Image.MAX_IMAGE_PIXELS


def test_encode_png_round_trip():
    pixels = np.asarray(noise(0))
    assert np.array_equal(decode(encode_png(pixels)), pixels)
    assert np.array_equal(decode(encode_png(pixels[..., :1]), 1), pixels[..., :1])


def test_published_portraits(shared_data):
    assert decode((shared_data / "orl_faces/s1/1.pgm").read_bytes(), 1).shape == (112, 92, 1)


def _png_header(width: int, height: int) -> bytes:
    """A PNG that claims this size."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)  # one bit a pixel
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
