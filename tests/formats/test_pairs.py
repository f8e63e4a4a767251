"""The format of pairs: the field's layouts, patterns, every fault by file and id; the real pairs."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cvflow.annotations import KINDS
from cvflow.annotations.files import arrays, flo, kitti, pfm
from cvflow.annotations.image import encode_png
from cvflow.config import SplitRule
from cvflow.dataset.prepare import prepare
from cvflow.dataset.prepared import PreparedDataset
from cvflow.errors import RequestError
from cvflow.formats.pairs import Pairs
from cvflow.formats.recognise import recognise
from cvflow.registry import build, get
from cvflow.tasks.base import Task

HEIGHT, WIDTH = 6, 9
DISPARITY = np.arange(HEIGHT * WIDTH, dtype=np.float32).reshape(HEIGHT, WIDTH) / 16
FLOW = np.dstack([DISPARITY, -DISPARITY])


def image(number: int = 0) -> bytes:
    return encode_png(np.random.default_rng(number).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8))


def tree(root: Path, files: Mapping[str, bytes]) -> Path:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def stereo_files(count: int = 3, **more: bytes) -> dict[str, bytes]:
    files = {}
    for i in range(count):
        files |= {
            f"left/{i}.png": image(i),
            f"right/{i}.png": image(100 + i),
            f"disparity/{i}.pfm": pfm.write(DISPARITY + i),
        }
    return files | more


def task(name: str) -> Task:
    made: Task = get("task", name)()
    return made


LAYOUTS: dict[str, tuple[str, dict[str, bytes], list[str]]] = {
    "ours": ("stereo", stereo_files(2), ["0", "1"]),
    "split": (
        "stereo",
        {
            "train/left/a.png": image(),
            "train/right/a.png": image(1),
            "train/disparity/a.npy": arrays.write("disparity", DISPARITY),
        },
        ["train/a"],
    ),
    "kitti": (
        "stereo",
        {
            "training/image_2/000000_10.png": image(),
            "training/image_3/000000_10.png": image(1),
            "training/disp_occ_0/000000_10.png": kitti.write_disparity(DISPARITY + 0.25),
        },
        ["training/000000"],
    ),
    "middlebury": (
        "stereo",
        {
            "bike/im0.png": image(),
            "bike/im1.png": image(1),
            "bike/disp0.pfm": pfm.write(np.where(DISPARITY < 1, np.inf, DISPARITY)),
            "bike/disp1.pfm": pfm.write(DISPARITY),
        },
        ["bike"],
    ),
    "flow": (
        "flow",
        {"first/x.png": image(), "second/x.png": image(1), "flow/x.flo": flo.write(FLOW)},
        ["x"],
    ),
    "kitti flow": (
        "flow",
        {
            "training/image_2/000000_10.png": image(),
            "training/image_2/000000_11.png": image(1),
            "training/flow_occ/000000_10.png": kitti.write_flow(FLOW),
        },
        ["training/000000"],
    ),
    "kitti 2012 flow": (
        "flow",
        {
            "training/colored_0/000000_10.png": image(),
            "training/colored_0/000000_11.png": image(1),
            "training/flow_occ/000000_10.png": kitti.write_flow(FLOW),
        },
        ["training/000000"],
    ),
    "chairs": ("flow", {"7_img1.ppm": image(), "7_img2.ppm": image(1), "7_flow.flo": flo.write(FLOW)}, ["7"]),
    "sintel": (
        "flow",
        {
            **{f"training/clean/alley/frame_{i:04d}.png": image(i) for i in (1, 2, 3)},
            **{f"training/flow/alley/frame_{i:04d}.flo": flo.write(FLOW) for i in (1, 2)},
        },
        ["training/alley/frame_0001", "training/alley/frame_0002"],
    ),
}


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("zipped", [False, True])
def test_layouts_are_recognised(tmp_path: Path, name: str, zipped: bool) -> None:
    kind, files, ids = LAYOUTS[name]
    source = tree(tmp_path / "source", {**files, "notes.txt": b"beside them"})
    if zipped:
        source = Path(shutil.make_archive(str(tmp_path / "packed"), "zip", source))
    component, reader = recognise(source)
    assert component.name == "pairs"
    records = list(reader)
    assert [record.id for record in records] == ids
    assert {record.split for record in records} == {"train" if "train" in ids[0] else None}
    assert {record.group for record in records} == ({"alley/frame"} if name == "sintel" else {None})
    schema = task(kind).schema
    for record in records:
        assert set(record.images) == set(schema.images)
        assert set(record.maps) <= set(schema.kinds)
        for column, read in [*record.images.items(), *record.maps.items()]:
            value = read()
            if column in schema.kinds:
                found = KINDS[schema.kinds[column]].decode(value)
                assert KINDS[schema.kinds[column]].fault(found, (HEIGHT, WIDTH), ()) is None


def test_patterns_say_where_files_are(tmp_path: Path) -> None:
    source = tree(
        tmp_path,
        {
            "a-L.png": image(),
            "a-R.png": image(1),
            "gt/a.npz": arrays.write("arr_0", DISPARITY),
            "b-L.png": image(),
            "gt/b.npz": b"",
            "c-L.png": image(),
        },
    )
    reader = Pairs(source, left="{id}-L.png", right="{id}-R.png", disparity="gt/{id}.npz")
    whole, half = reader
    assert whole.id == "a"
    assert np.array_equal(KINDS["disparity"].decode(whole.maps["disparity"]()), DISPARITY)
    with pytest.raises(Exception, match=r"no right: expected b-R.png"):
        half.images["right"]()
    assert list(reader.skipped()) == [("c-L.png", "belongs to no pair")]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"left": "{id}-L.png"}, "no pattern for 'right'"),
        (
            {"left": "{id}-L.png", "right": "{id}-R.png", "disparity": "{id}.pfm", "first": "{id}"},
            "a pattern in a layout of stereo",
        ),
        (
            {"left": "{id}-X.png", "right": "{id}-R.png", "disparity": "{id}.pfm"},
            "no file like {id}-X.png among 2",
        ),
        ({}, "no two images with a map among 2 files"),
    ],
)
def test_wrong_options(tmp_path: Path, options: dict[str, str], said: str) -> None:
    source = tree(tmp_path, {"a-L.png": image(), "a-R.png": image(1)})
    with pytest.raises(RequestError) as caught:
        Pairs(source, **options)  # type: ignore[arg-type]
    assert said in str(caught.value)


def cut(data: bytes) -> bytes:
    return data[:-7]


MAP, BACK = "disparity/9.pfm", "disparity_right/9.pfm"
FAULTS: dict[str, tuple[dict[str, bytes], str, str]] = {
    "cut": ({MAP: cut(pfm.write(DISPARITY))}, MAP, "a PFM of 9x6 with 209 bytes of pixels, not 216"),
    "no map": ({}, "", "no disparity: expected disparity/9"),
    "size": ({MAP: pfm.write(DISPARITY[:4])}, MAP, "a disparity of 9x4 pixels for an image of 9x6"),
    "unknown": ({MAP: pfm.write(np.full_like(DISPARITY, np.inf))}, MAP, "without a known pixel"),
    "negative": ({MAP: pfm.write(-DISPARITY)}, MAP, "a negative disparity at 53 pixels, down to -3.3125"),
    "absurd": ({MAP: pfm.write(DISPARITY * 100)}, MAP, "a disparity of 331.25 pixels in an image 9 wide"),
    "of the right view": (
        {MAP: pfm.write(DISPARITY), BACK: pfm.write(-DISPARITY)},
        BACK,
        "a negative disparity at 53 pixels",
    ),
    "8 bits": ({"disparity/9.png": image()}, "disparity/9.png", "a PNG of 8 bits"),
    "no left": ({MAP: pfm.write(DISPARITY), "left/9.png": b""}, "", "empty file"),
    "no right": ({MAP: pfm.write(DISPARITY), "right/9.png": b""}, "right/9.png", "empty file"),
    "a smaller right": (
        {MAP: pfm.write(DISPARITY), "right/9.png": encode_png(np.zeros((5, 9, 3), np.uint8))},
        "right/9.png",
        "9x5",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults_are_named_and_left_out(tmp_path: Path, name: str) -> None:
    files, file, said = FAULTS[name]
    source = tree(
        tmp_path / "source", {**stereo_files(6), "left/9.png": image(9), "right/9.png": image(8)} | files
    )
    validation = prepared(source, "stereo", tmp_path / "out")
    (finding,) = [f for f in validation.findings if f.action == "left out"]
    assert finding.file == ("left/9.png" if not file else f"left/9.png ({file})")
    assert finding.id == "9"
    assert str(finding).startswith(f"{finding.file}, id 9: ")
    assert said in finding.what
    assert sum(PreparedDataset(tmp_path / "out").info.counts.values()) == 6


def prepared(source: Path, name: str, out: Path, **rule: Any) -> Any:
    made = task(name)
    return prepare(Pairs(source), made.schema, name, SplitRule(**{"val": 0.2, "test": 0.2, **rule}), out, 64)


@pytest.mark.parametrize("name", ["stereo", "flow"])
def test_the_share_of_unknown_pixels_is_counted(tmp_path: Path, name: str) -> None:
    holes = DISPARITY.copy()
    holes[:3] = np.nan
    pictures = {
        f"{view}/{i}.png": image(100 * at + i) for i in range(4) for at, view in enumerate(("a", "b"))
    }
    maps = {
        "stereo": {f"gt/{i}.pfm": pfm.write(holes if i else DISPARITY) for i in range(4)},
        "flow": {
            f"gt/{i}.npz": arrays.write("flow", np.dstack([holes if i else DISPARITY] * 2)) for i in range(4)
        },
    }[name]
    views, kind = {"stereo": (("left", "right"), "disparity"), "flow": (("first", "second"), "flow")}[name]
    reader = Pairs(
        tree(tmp_path / "source", pictures | maps),
        **{view: f"{folder}/{{id}}.png" for view, folder in zip(views, "ab", strict=True)},
        **{kind: f"gt/{{id}}.{'pfm' if name == 'stereo' else 'npz'}"},
    )
    validation = prepare(
        reader, task(name).schema, name, SplitRule(val=0.25, test=0.25), tmp_path / "out", 64
    )
    assert validation.facts["unknown"] == round(3 / 4 / 2, 4)
    assert "pixel_counts" not in PreparedDataset(tmp_path / "out").info.extra


def test_prepared_rows_hold_the_canonical_maps(tmp_path: Path) -> None:
    prepared(tree(tmp_path / "source", stereo_files(6)), "stereo", tmp_path / "out")
    for row in (
        PreparedDataset(tmp_path / "out").split("train").rows(0, 3, ("id", "disparity", "disparity_right"))
    ):
        assert np.array_equal(KINDS["disparity"].decode(row["disparity"]), DISPARITY + int(row["id"]))
        assert row["disparity_right"] is None


@pytest.mark.parametrize(
    ("folder", "options", "kind"),
    [
        ("stereo_motorcycle", {}, "stereo"),
        (
            "flow_kitti_000010",
            {"first": "kitti_{id}_10.png", "second": "kitti_{id}_11.png", "flow": "kitti_occ_{id}_10.png"},
            "flow",
        ),
    ],
)
def test_the_real_pairs(shared_data: Path, folder: str, options: dict[str, str], kind: str) -> None:
    (record,) = Pairs(shared_data / folder, **options)  # type: ignore[arg-type]
    schema = task(kind).schema
    row = {"id": record.id, **{k: read() for k, read in (record.images | record.maps).items()}}
    (sample,) = task(kind).samples(row)
    column = next(iter(schema.kinds))
    assert sample.target[column].shape[1:] == sample.images[schema.images[0]].shape[1:]
    truth = KINDS[column].decode(row[column])
    assert KINDS[column].fault(truth, truth.shape[:2], ()) is None


def test_the_options_build_it(tmp_path: Path) -> None:
    from cvflow.registry import Component

    reader: Callable[..., Any] = build(
        "format", Component(name="pairs", pairs="stereo"), tree(tmp_path, stereo_files(1))
    )
    assert [record.id for record in reader] == ["0"]  # type: ignore[attr-defined]


def test_a_pair_for_test_alone_is_prepared(tmp_path: Path) -> None:
    """Its pixels are counted, for there is no train split."""
    prepared(tree(tmp_path / "source", stereo_files(1)), "stereo", tmp_path / "out", test=1)
    info = PreparedDataset(tmp_path / "out").info
    assert info.counts == {"train": 0, "val": 0, "test": 1}
    assert all(0.3 < mean < 0.7 for mean in info.mean)
    assert all(0.2 < std < 0.4 for std in info.std)
