"""One real file of each odd kind: read right, or named and left out."""

import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageOps

from cvflow.annotations.image import ImageFault, decode
from cvflow.dataset.prepare import inspect
from cvflow.formats.image_folder import ImageFolder

RED, BLUE, GREEN = (250, 10, 20), (10, 30, 240), (0, 200, 30)


def flat(colour: tuple[int, ...], mode: str = "RGB", size: tuple[int, int] = (16, 12)) -> Image.Image:
    return Image.new(mode, size, colour)


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    out = BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def near(pixels: np.ndarray, colour: tuple[int, ...]) -> bool:
    return pixels.shape == (12, 16, 3) and np.abs(pixels.astype(int) - colour).max() <= 6


def turned(orientation: int) -> bytes:
    """A JPEG of red left and blue right halves when upright, stored as a camera held otherwise stores it."""
    upright = flat(RED)
    upright.paste(BLUE, (8, 0, 16, 12))
    turn = Image.Transpose
    backs = (
        None,
        turn.FLIP_LEFT_RIGHT,
        turn.ROTATE_180,
        turn.FLIP_TOP_BOTTOM,
        turn.TRANSPOSE,
        turn.ROTATE_90,
        turn.TRANSVERSE,
        turn.ROTATE_270,
    )
    back = backs[orientation - 1]
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(
        upright.transpose(back) if back is not None else upright, "JPEG", quality=95, subsampling=0, exif=exif
    )


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP", "TIFF"])
def test_of_an_animation_the_first_frame(format):
    lossless = {"lossless": True} if format == "WEBP" else {}
    data = encoded(flat(RED), format, save_all=True, append_images=[flat(BLUE), flat(GREEN)], **lossless)
    assert Image.open(BytesIO(data)).n_frames == 3
    assert near(decode(data), RED)


@pytest.mark.parametrize("format", ["JPEG", "TIFF"])
def test_cmyk(format):
    """A JPEG holds CMYK inverted, as Adobe's programs write it; a TIFF does not."""
    data = encoded(flat((0, 255, 255, 0), "CMYK"), format)
    assert Image.open(BytesIO(data)).mode == "CMYK"
    assert near(decode(data), (255, 0, 0))
    assert near(decode(encoded(flat((0, 0, 0, 255), "CMYK"), format)), (0, 0, 0))


def test_cmyk_jpeg_in_adobe_s_other_colours():
    """The same bytes marked as YCCK are read by that mark: as Pillow's own conversion reads them."""
    data = bytearray(encoded(flat((0, 0, 0, 0), "CMYK"), "JPEG", quality=95))
    assert near(decode(bytes(data)), (255, 255, 255))
    marker = data.find(b"Adobe")
    assert marker >= 0
    data[marker + 11] = 2
    other = decode(bytes(data))
    assert np.array_equal(other, np.asarray(Image.open(BytesIO(data)).convert("RGB")))
    assert not near(other, (255, 255, 255))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_cameras_held_otherwise(orientation):
    data = turned(orientation)
    pixels = decode(data)
    assert np.array_equal(pixels, np.asarray(ImageOps.exif_transpose(Image.open(BytesIO(data)))))
    assert pixels.shape == (12, 16, 3)
    assert np.abs(pixels[:, :6].astype(int) - RED).max() < 12
    assert np.abs(pixels[:, 10:].astype(int) - BLUE).max() < 12


def test_grey_with_alpha_lies_on_white():
    image = Image.new("LA", (16, 12), (40, 0))
    image.paste((40, 255), (0, 0, 8, 12))
    pixels = decode(encoded(image, "PNG"))
    assert pixels[0, 0].tolist() == [40, 40, 40]
    assert pixels[0, 15].tolist() == [255, 255, 255]


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_palettes_of_any_depth(bits):
    image = Image.new("P", (16, 12), 1)
    image.putpalette([*BLUE, *RED])
    assert near(decode(encoded(image, "PNG", bits=bits)), RED)


def test_sixteen_bit_grey_of_either_byte_order():
    wide = np.full((12, 16), 0x8040, dtype=np.uint16)
    assert near(decode(encoded(Image.fromarray(wide), "PNG")), (128, 128, 128))
    big = Image.frombytes("I;16B", (16, 12), wide.byteswap().tobytes())
    assert near(decode(encoded(big, "TIFF")), (128, 128, 128))


def test_sixteen_bit_colour():
    """A PNG by hand: Pillow reads such and writes none."""
    colour = np.array([0x8040, 0x01FF, 0xFE00], ">u2")
    rows = b"".join(b"\0" + np.broadcast_to(colour, (16, 3)).tobytes() for _ in range(12))
    parts = (
        (b"IHDR", struct.pack(">IIBBBBB", 16, 12, 16, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    )
    chunks = [
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in parts
    ]
    pixels = decode(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    assert (pixels == (0x80, 0x01, 0xFE)).all()
    assert pixels.shape == (12, 16, 3)


def test_a_picture_that_ends_early():
    """A PNG without its end mark has all its pixels; a JPEG that ends early is named.

    Pillow cannot tell how much of it is gone.
    """
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8))
    png, jpeg = encoded(noise, "PNG"), encoded(noise, "JPEG")
    assert np.array_equal(decode(png[:-12]), decode(png))
    for data in (jpeg[:-20], jpeg[: len(jpeg) // 2], png[: len(png) // 2]):
        with pytest.raises(ImageFault, match="truncated"):
            decode(data)


def test_a_folder_of_all_kinds(tmp_path, labelled):
    good = {
        "cmyk.jpg": encoded(flat((0, 255, 255, 0), "CMYK"), "JPEG"),
        "grey.png": encoded(flat((7,), "L"), "PNG"),
        "one bit.png": encoded(flat((1,), "1"), "PNG"),
        "alpha.webp": encoded(flat((1, 2, 3, 100), "RGBA"), "WEBP"),
        "animated.gif": encoded(flat(RED), "GIF", save_all=True, append_images=[flat(BLUE)]),
        "turned.jpg": turned(6),
        "photo.jp2": encoded(flat(RED), "JPEG2000"),
        "scan.tif": encoded(flat(RED), "TIFF", compression="tiff_lzw"),
        "misnamed.png": encoded(flat(RED), "JPEG"),
    }
    bad = {
        "empty.jpg": (b"", "empty file"),
        "text.png": (b"hello", "not an image"),
        "cut.png": (
            encoded(Image.effect_noise((64, 64), 50), "PNG")[:-900],
            "damaged image: image file is truncated",
        ),
        "huge.png": (
            encoded(Image.new("1", (20_000, 11_000)), "PNG"),
            "220 megapixels, over the limit of 200",
        ),
        "depth.tif": (encoded(Image.new("F", (4, 4)), "TIFF"), "floating-point pixels, their range unknown"),
    }
    for kind in ("a", "b"):
        (tmp_path / kind).mkdir()
        for name, data in {**good, **{name: data for name, (data, _) in bad.items()}}.items():
            (tmp_path / kind / name).write_bytes(data)
    validation = inspect(ImageFolder(tmp_path), labelled)
    lost = {f.file: f.what for f in validation.findings if f.action == "left out"}
    assert validation.counts["train"] == 2 * len(good)
    assert {file.removeprefix("a/") for file in lost if file.startswith("a/")} == bad.keys()
    assert all(bad[file[2:]][1] in what for file, what in lost.items())
