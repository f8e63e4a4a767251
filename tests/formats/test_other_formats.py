"""Zips, Hugging Face Parquet and torchvision's classes, each on files in its own layout."""

import gzip
import io
import json
import struct
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cvflow.annotations.image import ImageFault, decode, encode_png
from cvflow.config import SplitRule
from cvflow.dataset.prepare import prepare
from cvflow.errors import RequestError
from cvflow.formats.huggingface import HuggingFace
from cvflow.formats.image_folder import ImageFolder
from cvflow.formats.reading.parquet_cursor import BATCH_ROWS
from cvflow.formats.recognise import recognise
from cvflow.formats.torchvision import TorchVision
from cvflow.tasks.classification import Classification


def packed(folder: Path, out: Path, top: str = "") -> Path:
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        for path in sorted(folder.rglob("*.*")):
            file.write(path, Path(top) / path.relative_to(folder))
        file.writestr("__MACOSX/._x.png", b"x")
    return out


@pytest.mark.parametrize("top", ["", "flowers", "a/b/flowers"])
@pytest.mark.parametrize("splits", [("",), ("train/", "test/")], ids=["plain", "given splits"])
def test_a_zip_is_read_as_its_folder(make_folder, tmp_path, top, splits):
    folder = make_folder({f"{split}{kind}": 3 for split in splits for kind in ("cat", "dog")})
    there = list(ImageFolder(folder))
    reader = ImageFolder(packed(folder, tmp_path / "x.zip", top))
    assert [(r.id, r.annotation, r.split) for r in reader] == [(r.id, r.annotation, r.split) for r in there]
    assert [r.images["image"]() for r in reader] == [r.images["image"]() for r in there]
    assert list(reader.skipped()) == []
    assert [p.name for p in tmp_path.iterdir() if p.suffix != ".zip"] == ["source"]
    assert recognise(tmp_path / "x.zip")[0].name == "image_folder"


def test_the_zip_gives_the_folder_s_dataset(make_folder, tmp_path):
    folder = make_folder({"a": 8, "b": 8})
    schema, written = Classification().schema, []
    for name, source in (("one", folder), ("two", packed(folder, tmp_path / "x.zip"))):
        prepare(ImageFolder(source), schema, "classification", SplitRule(), tmp_path / name, 1)
        written.append({p.name: p.read_bytes() for p in (tmp_path / name).iterdir()})
    assert written[0] == written[1]


def zip_of(names: dict[str, bytes], path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in names.items():
            file.writestr(name, content)
    return path


@pytest.mark.parametrize("name", ["../a/x.png", "/a/x.png", "a/../../x.png", "C:/a/x.png", "..\\x.png"])
def test_names_that_lead_out_of_a_zip(tmp_path, name):
    with pytest.raises(RequestError, match="which leads out of the zip"):
        ImageFolder(zip_of({name: b"x", "b/y.png": b"y"}, tmp_path / "x.zip"))


def test_cut_encrypted_and_exploding_zips(make_folder, tmp_path):
    good = packed(make_folder({"a": 3, "b": 3}), tmp_path / "good.zip").read_bytes()
    cut = tmp_path / "cut.zip"
    cut.write_bytes(good[:-200])
    with pytest.raises(RequestError, match="no readable zip.*copy or download it again"):
        ImageFolder(cut)
    locked = tmp_path / "locked.zip"
    central = good.index(b"PK\x01\x02")
    locked.write_bytes(
        good[: central + 8] + b"\x01\x00" + good[central + 10 :]
    )  # the flag of the first entry
    with pytest.raises(RequestError, match="encrypted, expected files without a password"):
        ImageFolder(locked)
    with pytest.raises(RequestError, match="at most 200 times its size"):
        ImageFolder(zip_of({"a/x.bmp": bytes(300 * 2**20), "b/y.png": b"y"}, tmp_path / "bomb.zip"))


def test_a_damaged_entry_is_left_out(make_folder, labelled, tmp_path):
    whole = packed(make_folder({"a": 6, "b": 6}), tmp_path / "x.zip")
    data = bytearray(whole.read_bytes())
    data[data.index(b"\x89PNG") + 100] ^= 0xFF
    whole.write_bytes(data)
    validation = prepare(ImageFolder(whole), labelled, "x", SplitRule(val=0, test=0), tmp_path / "out", 1)
    (lost,) = [f for f in validation.findings if f.action == "left out"]
    assert lost.file == "a/000.png"
    assert "damaged in the zip" in lost.what


def pictures(count: int, start: int = 0) -> list[bytes]:
    return [encode_png(np.full((6, 5, 3), (start + i) % 251, dtype=np.uint8)) for i in range(count)]


def hugging(
    path: Path,
    labels: list[int | None],
    start: int = 0,
    row_group: int = 50,
    images: list[object] | None = None,
) -> Path:
    """As datasets' to_parquet writes it."""
    features = {"image": {"_type": "Image"}, "label": {"names": ["cat", "dog", "eel"], "_type": "ClassLabel"}}
    rows = images or [{"bytes": data, "path": None} for data in pictures(len(labels), start)]
    schema = pa.schema(
        {"image": pa.struct({"bytes": pa.binary(), "path": pa.string()}), "label": pa.int64()},
        metadata={"huggingface": json.dumps({"info": {"features": features}})},
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"image": rows, "label": labels}, schema=schema), path, row_group_size=row_group)
    return path


def test_hugging_face_folder(tmp_path):
    hugging(tmp_path / "hf/data/train-00000-of-00002.parquet", [0, 1, 2] * 60)
    hugging(tmp_path / "hf/data/train-00001-of-00002.parquet", [2, -1, None, 1], 180)
    hugging(tmp_path / "hf/data/validation-00000-of-00001.parquet", [0, 1], 190)
    hugging(tmp_path / "hf/data/test-00000-of-00001.parquet", [1], 200)
    component, reader = recognise(tmp_path / "hf")
    records = list(reader)
    assert (component.name, reader.classes, len(records)) == ("huggingface", ("cat", "dog", "eel"), 185)
    assert [r.split for r in records] == ["test"] + ["train"] * 182 + ["val"] * 2
    assert [r.annotation["label"] for r in records[1:5]] == [0, 1, 2, 0]
    assert len({r.id for r in records}) == 185
    assert list(reader.skipped()) == [
        ("data/train-00001-of-00002.parquet row 2", "no label"),
        ("data/train-00001-of-00002.parquet row 3", "no label"),
    ]
    assert [r.images["image"]() for r in records[1:181]] == pictures(180)
    backwards = [r.images["image"]() for r in reversed(records[1:181])]
    assert backwards == pictures(180)[::-1]


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("default/train/0000.parquet", "train"),
        ("val.parquet", "val"),
        ("dev-0.parquet", "val"),
        ("pets_test.parquet", "test"),
        ("constraints.parquet", None),
        ("contest.parquet", None),
    ],
)
def test_splits_by_file_name(tmp_path, name, split):
    hugging(tmp_path / "hf" / name, [0, 1])
    assert {r.split for r in HuggingFace(tmp_path / "hf")} == {split}


def test_a_path_out_of_the_folder_is_not_followed(tmp_path):
    (tmp_path / "x.png").write_bytes(pictures(1)[0])
    hugging(
        tmp_path / "hf/train.parquet",
        [0, 1],
        images=[{"bytes": None, "path": "../x.png"}, {"bytes": None, "path": str(tmp_path / "x.png")}],
    )
    for record in HuggingFace(tmp_path / "hf"):
        with pytest.raises(ImageFault, match="leads out of the data"):
            record.images["image"]()


def test_images_by_path_plain_bytes_and_none(tmp_path):
    (tmp_path / "x.png").write_bytes(pictures(1)[0])
    images = [
        {"bytes": None, "path": "x.png"},
        {"bytes": None, "path": None},
        None,
        {"bytes": pictures(1)[0], "path": None},
    ]
    records = list(HuggingFace(hugging(tmp_path / "one.parquet", [0, 1, 2, 0], images=images)))
    assert records[0].images["image"]() == records[3].images["image"]() == pictures(1)[0]
    for record in records[1:3]:
        with pytest.raises(ImageFault, match="no image bytes"):
            record.images["image"]()
    pq.write_table(
        pa.table({"img": pictures(3), "y": [0, 1, 1], "text": ["a", "b", "c"]}), tmp_path / "plain.parquet"
    )
    reader = HuggingFace(tmp_path / "plain.parquet")
    assert (reader.classes, [r.annotation["label"] for r in reader]) == (("0", "1"), [0, 1, 1])


def test_little_of_a_large_file_is_in_memory(tmp_path):
    source = hugging(tmp_path / "one.parquet", [0, 1] * 1000, row_group=2000)
    (record, *_), before = list(HuggingFace(source)), pa.total_allocated_bytes()
    record.images["image"]()
    assert pa.total_allocated_bytes() - before < 200_000
    assert BATCH_ROWS < 100


def test_hugging_face_faults(tmp_path):
    cut = hugging(tmp_path / "cut.parquet", [0, 1])
    cut.write_bytes(cut.read_bytes()[:-20])
    with pytest.raises(RequestError, match="no readable Parquet"):
        HuggingFace(cut)
    good = hugging(tmp_path / "good/a.parquet", [0, 1])
    with pytest.raises(RequestError, match="data.format.label: got 'labl'.*Did you mean 'label'"):
        HuggingFace(good, label="labl")
    with pytest.raises(RequestError, match="'label', which holds no image"):
        HuggingFace(good, image="label")
    pq.write_table(pa.table({"label": [0, 1], "path": ["a", "b"]}), tmp_path / "good/b.parquet")
    with pytest.raises(RequestError, match="no column 'image', expected the same columns in each file"):
        HuggingFace(tmp_path / "good")
    with pytest.raises(RequestError, match="which holds no Parquet"):
        HuggingFace(Path("/dev/null").parent / "shm")


def idx(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    head = struct.pack(">BBBB", 0, 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(head + array.tobytes())
    with gzip.open(path.with_name(f"{path.name}.gz"), "wb") as file:
        file.write(head + array.tobytes())


@pytest.fixture
def mnist(tmp_path):
    """A root as torchvision.datasets.MNIST keeps it, of 30 + 10 images."""
    draw = np.random.default_rng(0)
    for name, count in (("train", 30), ("t10k", 10)):
        idx(
            tmp_path / f"tv/MNIST/raw/{name}-images-idx3-ubyte",
            draw.integers(0, 256, (count, 28, 28), dtype=np.uint8),
        )
        idx(tmp_path / f"tv/MNIST/raw/{name}-labels-idx1-ubyte", (np.arange(count) % 10).astype(np.uint8))
    return tmp_path / "tv"


def test_mnist_by_train_flag(mnist):
    component, reader = recognise(mnist)
    assert (component.name, component.options) == ("torchvision", {"dataset": "MNIST"})
    records = list(reader)
    assert [r.split for r in records] == ["train"] * 30 + ["test"] * 10
    assert [r.annotation["label"] for r in records[:12]] == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
    assert reader.classes[3] == "3 - three"
    raw = np.frombuffer(
        (mnist / "MNIST/raw/train-images-idx3-ubyte").read_bytes()[16:], dtype=np.uint8
    ).reshape(30, 28, 28)
    assert all(
        np.array_equal(decode(r.images["image"](), 1)[..., 0], raw[i]) for i, r in enumerate(records[:30])
    )
    assert [r.id for r in records] == [r.id for r in reader]


def test_image_folder_and_eurosat_keep_the_file_s_bytes(make_folder, tmp_path):
    source = make_folder({"a": 2, "b": 2})
    records = list(TorchVision(source, dataset="ImageFolder"))
    assert [(r.id, r.split) for r in records][:2] == [("a/000.png", None), ("a/001.png", None)]
    assert records[0].images["image"]() == (source / "a/000.png").read_bytes()
    make_folder({"eurosat/2750/Forest": 1, "eurosat/2750/River": 2}, "euro")
    component, reader = recognise(tmp_path / "euro")
    assert (component.options, reader.classes, len(list(reader))) == (
        {"dataset": "EuroSAT"},
        ("Forest", "River"),
        3,
    )


def test_splits_by_word(tmp_path):
    root = tmp_path / "country211"
    for split in ("train", "valid", "test"):
        for kind in ("AD", "BE"):
            (root / split / kind).mkdir(parents=True)
            (root / split / kind / "1.jpg").write_bytes(pictures(1)[0])
    records = list(TorchVision(tmp_path, dataset="Country211"))
    assert [(r.split, r.annotation["label"]) for r in records] == [
        ("train", 0),
        ("train", 1),
        ("val", 0),
        ("val", 1),
        ("test", 0),
        ("test", 1),
    ]
    assert records[2].id == "val/country211/valid/AD/1.jpg"


def test_fake_data_needs_no_files():
    reader = TorchVision(
        None, dataset="FakeData", options={"size": 12, "image_size": (3, 8, 8), "num_classes": 3}
    )
    records = list(reader)
    assert (len(records), reader.classes) == (12, ("0", "1", "2"))
    assert decode(records[0].images["image"]()).shape == (8, 8, 3)


@pytest.mark.parametrize(
    ("dataset", "options", "message"),
    [
        ("MNISTT", {}, "Did you mean 'MNIST'"),
        ("MNIST", {"download": True}, "both a source, which is only read, and download"),
        ("CIFAR10", {}, "expected the files of CIFAR10"),
        ("Flowers102", {}, "expected the files of Flowers102"),
        ("EMNIST", {}, "data.format.options: got .*'split'"),
        ("VOCDetection", {}, "VOCDetection"),
        ("MNIST", {"options": {"sise": 3}}, "'sise'.*what torchvision.datasets.MNIST takes"),
    ],
)
def test_torchvision_faults(mnist, dataset, options, message):
    with pytest.raises(RequestError, match=message):
        TorchVision(mnist, dataset=dataset, **options)


def test_items_that_are_no_image_and_class(mnist, tmp_path):
    with pytest.raises(RequestError, match="got nothing.*data.format.download=true"):
        TorchVision(None, dataset="MNIST")
    buffer = io.BytesIO()
    np.save(buffer, np.zeros((20, 4, 64, 64), dtype=np.uint8))
    (tmp_path / "MovingMNIST").mkdir()
    (tmp_path / "MovingMNIST/mnist_test_seq.npy").write_bytes(buffer.getvalue())
    with pytest.raises(RequestError, match="MovingMNIST"):
        TorchVision(tmp_path, dataset="MovingMNIST")
