"""Files of disparity and flow: exact both ways, each fault in words, no damage that gives a traceback."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as drawn
from PIL import Image

from cvflow.annotations.files import arrays, flo, kitti, pfm, png16
from cvflow.annotations.image import ImageFault

SIDES = st.integers(1, 7)
FINITE = st.floats(-300, 300, width=32)


def maps(*channels: int) -> st.SearchStrategy[np.ndarray]:
    return st.tuples(SIDES, SIDES).flatmap(
        lambda size: drawn(np.float32, (*size, *channels), elements=FINITE | st.just(np.float32("nan")))
    )


def as_flow(array: np.ndarray) -> np.ndarray:
    """Unknown in both components."""
    return np.where(np.isnan(array).any(axis=2, keepdims=True), np.float32("nan"), array)


def same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and np.array_equal(a, b, equal_nan=True)


@given(maps() | maps(3))
def test_pfm_comes_back(array: np.ndarray) -> None:
    assert same(pfm.read(pfm.write(array)), array)


@given(maps(2).map(as_flow))
def test_flo_comes_back(flow: np.ndarray) -> None:
    assert same(flo.read(flo.write(flow)), flow)


@given(maps())
def test_npz_comes_back(array: np.ndarray) -> None:
    data = arrays.write("disparity", array)
    assert same(arrays.read(data, "disparity"), array)
    assert data == arrays.write("disparity", array)


@given(drawn(np.uint16, st.tuples(SIDES, SIDES, st.sampled_from([1, 3]))))
@settings(deadline=None)
def test_png_of_16_bits_comes_back(pixels: np.ndarray) -> None:
    assert same(png16.read(png16.write(pixels)), pixels)
    assert same(png16.read(png16.write(pixels[..., 0])), pixels[..., :1])


@given(drawn(np.uint16, st.tuples(SIDES, SIDES)))
def test_pillow_reads_the_grey_png_alike(pixels: np.ndarray) -> None:
    with Image.open(BytesIO(png16.write(pixels))) as image:
        assert same(np.asarray(image).astype(np.uint16), pixels)


@given(maps(2).map(as_flow))
def test_kitti_flow_comes_back_to_a_sixty_fourth(flow: np.ndarray) -> None:
    found = kitti.read_flow(kitti.write_flow(flow))
    assert np.array_equal(np.isnan(found), np.isnan(flow))
    assert np.nanmax(np.abs(found - flow), initial=0) <= 1 / 128


@given(maps())
def test_kitti_disparity_comes_back_to_a_part_in_256(array: np.ndarray) -> None:
    disparity = np.clip(np.abs(array), 1 / 256, 255)
    found = kitti.read_disparity(kitti.write_disparity(disparity))
    assert np.array_equal(np.isnan(found), np.isnan(disparity))
    assert np.nanmax(np.abs(found - disparity), initial=0) <= 1 / 512


def test_pfm_by_hand() -> None:
    """2x2, bottom row first, in both byte orders."""
    for scale, order in (("-1.0", "<"), ("1", ">")):
        data = f"Pf\n2 2\n{scale}\n".encode() + struct.pack(f"{order}4f", 3, 4, 1, 2)
        assert pfm.read(data).tolist() == [[1, 2], [3, 4]]


def test_flo_by_hand() -> None:
    data = b"PIEH" + struct.pack("<ii4f", 2, 1, 1.5, -2, 1e10, 1e10)
    found = flo.read(data)
    assert found[0, 0].tolist() == [1.5, -2]
    assert np.isnan(found[0, 1]).all()


def test_kitti_by_hand() -> None:
    disparity = kitti.read_disparity(png16.write(np.array([[0, 256, 640]], dtype=np.uint16)))
    assert np.isnan(disparity[0, 0])
    assert disparity[0, 1:].tolist() == [1, 2.5]
    flow = kitti.read_flow(png16.write(np.array([[[2**15 + 64, 2**15 - 32, 1], [9, 9, 0]]], dtype=np.uint16)))
    assert flow[0, 0].tolist() == [1, -0.5]
    assert np.isnan(flow[0, 1]).all()


def npz(**named: np.ndarray) -> bytes:
    out = BytesIO()
    np.savez(out, **named)  # type: ignore[arg-type]  # its stub takes allow_pickle for one of the arrays
    return out.getvalue()


def bomb() -> bytes:
    """A zip whose member claims four gigabytes."""
    out = BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("a.npy", b"x")
    return out.getvalue().replace(struct.pack("<II", 1, 1), struct.pack("<II", 1, 2**32 - 2))


def pickled() -> bytes:
    out = BytesIO()
    np.save(out, np.array([{}], dtype=object), allow_pickle=True)
    return out.getvalue()


FLOW = flo.write(np.zeros((2, 3, 2), np.float32))


@pytest.mark.parametrize(
    ("read", "data", "said"),
    [
        (pfm.read, b"P6\n1 1\n255\n", "no PFM"),
        (pfm.read, b"Pf\n2 2\n-1\n1234", "2x2 with 4 bytes of pixels, not 16"),
        (pfm.read, b"Pf\n0 2\n-1\n1234", "0x2"),
        (pfm.read, b"Pf\n1 1\nabc\n1234", "scale is 'abc'"),
        (pfm.read, b"Pf\n1 1\n0\n1234", "scale is '0'"),
        (flo.read, b"HEIP" + FLOW[4:], "begins with b'HEIP'"),
        (flo.read, FLOW[:9], "cut in its header: 9 bytes"),
        (flo.read, FLOW[:-1], "3x2 with 47 bytes of vectors, not 48"),
        (flo.read, FLOW[:4] + struct.pack("<ii", -3, -2) + FLOW[12:], "-3x-2"),
        (kitti.read_flow, png16.write(np.zeros((2, 2), np.uint16)), "1 channels, expected 3"),
        (kitti.read_disparity, png16.write(np.zeros((2, 2, 3), np.uint16)), "3 channels, expected 1"),
        (kitti.read_disparity, b"", "no PNG"),
        (arrays.read, npz(a=np.zeros(2), b=np.zeros(2)), "2 arrays, expected one"),
        (arrays.read, npz(), "0 arrays"),
        (arrays.read, npz(a=np.zeros(2))[:60], "damaged .npz"),
        (arrays.read, npz(a=np.array(["x"])), "expected numbers"),
        (arrays.read, pickled(), "array of object"),
        (arrays.read, bomb(), "over 2,147 MB"),
        (arrays.read, b"\x93NUMPY\x01\x00", "damaged header"),
    ],
)
def test_faults_are_named(read: Callable[[bytes], np.ndarray], data: bytes, said: str) -> None:
    with pytest.raises(ImageFault, match=said):
        read(data)


@given(drawn(np.uint8, st.tuples(SIDES, SIDES.map(lambda n: 2 * n))), st.data())
def test_every_filter_of_a_png_is_undone(rows: np.ndarray, data: st.DataObject) -> None:
    """Against Pillow, which reads grey of 16 bits."""
    filters = np.array(
        data.draw(st.lists(st.integers(0, 4), min_size=len(rows), max_size=len(rows))), np.uint8
    )
    body = zlib.compress(np.concatenate([filters[:, None], rows], axis=1).tobytes())
    plain = png16.write(np.zeros((len(rows), rows.shape[1] // 2), np.uint16))
    png = (
        plain[:33]
        + struct.pack(">I", len(body))
        + b"IDAT"
        + body
        + struct.pack(">I", zlib.crc32(b"IDAT" + body))
        + plain[-12:]
    )
    with Image.open(BytesIO(png)) as image:
        assert same(png16.read(png)[..., 0], np.asarray(image).astype(np.uint16))


def test_a_png_of_8_bits_is_refused() -> None:
    out = BytesIO()
    Image.new("RGB", (2, 2)).save(out, "PNG")
    with pytest.raises(ImageFault, match="8 bits and colour type 2, expected 16 bits"):
        kitti.read_flow(out.getvalue())


NPY = (
    b"\x93NUMPY\x01\x00v\x00"
    + b"{'descr': '<f4', 'fortran_order': False, 'shape': (1,)}".ljust(117)
    + b"\n1234"
)
WHOLE = {
    "pfm": (pfm.read, pfm.write(np.ones((3, 4), np.float32))),
    "flo": (flo.read, FLOW),
    "kitti": (kitti.read_flow, kitti.write_flow(np.ones((3, 4, 2), np.float32))),
    "npz": (arrays.read, arrays.write("flow", np.ones((3, 4, 2), np.float32))),
    "npy": (arrays.read, NPY),
}


@pytest.mark.parametrize("name", WHOLE)
@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_damage_is_a_fault_or_nothing(name: str, data: st.DataObject) -> None:
    read, whole = WHOLE[name]
    read(whole)
    damaged = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(damaged[: data.draw(st.integers(0, len(whole)))])
    with suppress(ImageFault):
        assert read(cut).dtype.kind in "fiu"


def test_the_real_flow_reads(shared_data: Path) -> None:
    flow = kitti.read_flow((shared_data / "flow_kitti_000010" / "kitti_occ_000010_10.png").read_bytes())
    assert flow.shape == (375, 1242, 2)
    known = ~np.isnan(flow[..., 0])
    assert 0.1 < known.mean() < 0.5
    assert np.nanmax(np.abs(flow)) < 300


def test_the_real_disparity_reads(shared_data: Path) -> None:
    found = arrays.read((shared_data / "stereo_motorcycle" / "motorcycle_disp.npz").read_bytes(), "disparity")
    known = np.isfinite(found)
    assert found.shape == (500, 741)
    assert 1 - known.mean() == pytest.approx(0.073, abs=0.001)
    assert (round(float(found[known].min()), 2), round(float(found[known].max()), 2)) == (7.19, 59.91)
