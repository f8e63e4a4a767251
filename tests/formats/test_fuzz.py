"""Mutated images, recipes, tables and archives: a plain fault or an answer, never a traceback of
another kind, never a hang.

The slow set is 3,500 images, 1,500 recipes and 600 tables and archives: 14 s on two busy cores.
"""

import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from cvflow.annotations.image import ImageFault, decode, encode_png
from cvflow.errors import RequestError
from cvflow.formats.huggingface import HuggingFace
from cvflow.formats.image_folder import ImageFolder
from cvflow.formats.image_mask import ImageMask
from cvflow.formats.manifest import Manifest
from cvflow.formats.voc import Voc
from cvflow.project.resolved import resolve_layers
from cvflow.recipe.layers import load

REPOSITORY = Path(__file__).parents[2]
SECONDS = 5
pytestmark = pytest.mark.filterwarnings(
    "ignore"
)  # Pillow's: what it says of damaged files is not what is tested


class Hang(BaseException):
    """Past the limit; no Exception, so that no decoder's net catches it."""


@contextmanager
def limited() -> Iterator[None]:
    def end(*_: object) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def images() -> list[bytes]:
    """A real file of each format and way of packing."""
    draw = np.random.default_rng(0)
    colour = Image.fromarray(draw.integers(0, 256, (20, 24, 3), dtype=np.uint8))
    frames = [colour.transpose(Image.Transpose.ROTATE_180)]
    wide = Image.fromarray(draw.integers(0, 65536, (20, 24), dtype=np.uint16))
    exif = Image.Exif()
    exif[0x0112] = 6
    kinds: list[tuple[Image.Image, str, dict[str, object]]] = [
        (colour, "JPEG", {"exif": exif}),
        (colour, "JPEG", {"progressive": True}),
        (colour.convert("CMYK"), "JPEG", {}),
        (colour, "PNG", {}),
        (colour.convert("P"), "PNG", {"transparency": 0}),
        (colour.convert("LA"), "PNG", {}),
        (wide, "PNG", {}),
        (colour, "PNG", {"save_all": True, "append_images": frames}),
        (colour, "GIF", {"save_all": True, "append_images": frames}),
        (colour, "WEBP", {}),
        (colour, "WEBP", {"save_all": True, "append_images": frames, "lossless": True}),
        (colour, "BMP", {}),
        (colour, "TIFF", {}),
        (colour, "TIFF", {"compression": "tiff_lzw"}),
        (colour, "TIFF", {"compression": "jpeg"}),
        (wide, "TIFF", {"compression": "tiff_deflate"}),
        (colour, "JPEG2000", {}),
        (colour, "PPM", {}),
    ]
    found = []
    for image, format, options in kinds:
        out = BytesIO()
        image.save(out, format, **options)
        found.append(out.getvalue())
    return found


def mutated(draw: random.Random, data: bytes, others: list[bytes]) -> bytes:
    """One to four random changes: bits flipped, bytes set, cut, put in, taken out, or the tail of
    another file.
    """
    for _ in range(draw.randint(1, 4)):
        at = draw.randrange(len(data) + 1) if draw.random() < 0.5 else min(len(data), draw.randrange(64))
        match draw.randrange(6):
            case 0 if data:
                at = min(at, len(data) - 1)
                data = data[:at] + bytes([data[at] ^ (1 << draw.randrange(8))]) + data[at + 1 :]
            case 1:
                data = (
                    data[:at]
                    + bytes([draw.choice((0, 1, 127, 128, 255))]) * draw.choice((1, 2, 4))
                    + data[at + 4 :]
                )
            case 2:
                data = data[:at] if draw.random() < 0.3 else data
            case 3:
                data = data[:at] + draw.randbytes(draw.randint(1, 40)) + data[at:]
            case 4:
                data = data[:at] + data[at + draw.randint(1, 40) :]
            case _:
                other = draw.choice(others)
                data = data[:at] + other[min(at, len(other)) :]
    return data


def survive(work: Callable[[], object], *expected: type[Exception]) -> bool:
    """Whether it gave an answer; False for one of the expected faults."""
    with limited():
        try:
            work()
        except expected:
            return False
    return True


def decode_all(seed: int, count: int) -> None:
    draw, files = random.Random(seed), images()
    inputs = (mutated(draw, files[i % len(files)], files) for i in range(count))
    answers = [survive(partial(decode, data, max_megapixels=20), ImageFault) for data in inputs]
    assert 0.1 * count < sum(answers) < 0.9 * count  # some changes do no harm, some do


def test_mutated_images():
    decode_all(0, 300)


@pytest.mark.slow
def test_thousands_of_mutated_images():
    start = time.perf_counter()
    decode_all(1, 3500)
    print(f"3500 images in {time.perf_counter() - start:.1f} s")


def recipes() -> list[bytes]:
    return [
        path.read_bytes()
        for folder in ("pipelines", "tests/recipes")
        for path in sorted((REPOSITORY / folder).glob("*.yaml"))
    ]


def resolve_all(folder: Path, seed: int, count: int) -> None:
    draw, texts = random.Random(seed), recipes()
    path = folder / "recipe.yaml"
    for i in range(count):
        path.write_bytes(mutated(draw, texts[i % len(texts)], texts))
        survive(lambda: resolve_layers(load(path, {})), RequestError)


def test_mutated_recipes(tmp_path):
    resolve_all(tmp_path, 0, 60)


@pytest.mark.slow
def test_many_mutated_recipes(tmp_path):
    start = time.perf_counter()
    resolve_all(tmp_path, 1, 1000)
    print(f"1000 recipes in {time.perf_counter() - start:.1f} s")


KEYS = (
    "task",
    "data",
    "data.format",
    "data.split",
    "data.split.val",
    "image",
    "image.size",
    "model",
    "model.backbone",
    "train",
    "train.epochs",
    "train.optimizer",
    "train.augment",
    "train.phases",
    "train.phases.0",
    "plugins",
    "extends",
    "seed",
    "register",
    "compute.workers",
    "",
    "a.b",
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["sgd", "lenet", "digits", "../x"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=6) | st.just("name"), inner, max_size=3)
    ),
    max_leaves=6,
)


def any_value_at(key: str, value: object) -> None:
    survive(lambda: resolve_layers(load(REPOSITORY / "pipelines/digits.yaml", {key: value})), RequestError)


@settings(max_examples=40, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(KEYS), VALUES)
def test_any_value_at_a_key(key, value):
    any_value_at(key, value)


@pytest.mark.slow
@settings(max_examples=500, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(KEYS), VALUES)
def test_many_values_at_a_key(key, value):
    any_value_at(key, value)


def read_all(folder: Path, seed: int, count: int) -> None:
    """Tables, Parquet and zips, and every image that they still hold."""
    import zipfile

    draw = random.Random(seed)
    (folder / "x.csv").write_text(
        "path,label,split,weight\n" + "".join(f'"x{i}.png",c{i % 2},train,{i}\n' for i in range(20))
    )
    pictures = [{"bytes": encode_png(np.full((4, 4), i, dtype=np.uint8)), "path": None} for i in range(20)]
    pq.write_table(pa.table({"image": pictures, "label": [0, 1] * 10}), folder / "x.parquet")
    with zipfile.ZipFile(folder / "x.zip", "w", zipfile.ZIP_DEFLATED) as file:
        for i, picture in enumerate(pictures):
            file.writestr(f"c{i % 2}/{i}.png", picture["bytes"])  # type: ignore[arg-type]
    readers = {"x.csv": Manifest, "x.parquet": HuggingFace, "x.zip": ImageFolder}
    files = {name: (folder / name).read_bytes() for name in readers}

    def read(name: str) -> None:
        for record in readers[name](folder / f"mutated {name}"):
            survive(record.images["image"], ImageFault, OSError, ValueError)

    for i in range(count):
        name = list(files)[i % 3]
        (folder / f"mutated {name}").write_bytes(mutated(draw, files[name], list(files.values())))
        survive(lambda name=name: read(name), RequestError)  # type: ignore[misc]


def test_mutated_containers(tmp_path):
    read_all(tmp_path, 0, 60)


@pytest.mark.slow
def test_many_mutated_containers(tmp_path):
    read_all(tmp_path, 1, 600)


def annotate_all(folder: Path, seed: int, count: int) -> None:
    """Masks, their legend, and Pascal VOC's XML."""
    draw = random.Random(seed)
    picture = encode_png(np.full((6, 5, 3), 9, dtype=np.uint8))
    edges = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>4</xmax><ymax>5</ymax></bndbox>"
    files = {
        "masks/a.png": encode_png(np.arange(30, dtype=np.uint8).reshape(6, 5) % 3),
        "class_dict.csv": b"name,r,g,b\nsky,0,0,0\nroad,1,1,1\ntree,2,2,2\n",
        "annots/a.xml": f"<annotation><object><name>cat</name>{edges}</object></annotation>".encode(),
    }
    for name, data in {"images/a.png": picture, **files}.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)

    def read() -> None:
        for record in [*ImageMask(folder), *Voc(folder)]:
            for reader in [*record.images.values(), *record.maps.values()]:
                survive(reader, ImageFault, OSError, ValueError)

    for i in range(count):
        name = list(files)[i % 3]
        (folder / name).write_bytes(mutated(draw, files[name], list(files.values())))
        survive(read, RequestError)
        (folder / name).write_bytes(files[name])


def test_mutated_annotations(tmp_path):
    annotate_all(tmp_path, 0, 150)


@pytest.mark.slow
def test_many_mutated_annotations(tmp_path):
    annotate_all(tmp_path, 1, 3000)
