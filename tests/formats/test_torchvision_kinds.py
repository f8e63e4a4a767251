"""torchvision's datasets of masks, disparity and flow, each in its own layout."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from cvflow.annotations import KINDS
from cvflow.annotations.files import pfm
from cvflow.config import SplitRule
from cvflow.dataset.prepare import prepare
from cvflow.dataset.prepared import PreparedDataset
from cvflow.errors import RequestError
from cvflow.formats.recognise import recognise
from cvflow.formats.torchvision import TorchVision
from cvflow.recipe.task_data import check_annotated
from cvflow.registry import get
from cvflow.tasks.base import Task
from cvflow.verbs.recognise_for_task import recognise_for
from tests.formats.torchvision_trees import (
    DISPARITY,
    FLOW,
    HEIGHT,
    LABELS,
    WIDTH,
    chairs,
    cityscapes,
    hd1k,
    kitti_flow,
    kitti_stereo,
    middlebury,
    pets,
    picture,
    sbd,
    sintel,
    sintel_stereo,
    tree,
    voc,
)

pytestmark = pytest.mark.filterwarnings(
    "ignore:The image decoding and encoding capabilities of TorchVision:DeprecationWarning"
)
MASK = np.where(np.arange(HEIGHT)[:, None] == HEIGHT - 1, 255, LABELS * 10).astype(np.uint8)
TRIMAP = np.array([0, 1, 255], np.uint8)[LABELS]
CITY = np.full((HEIGHT, WIDTH), 0, np.uint8)
CITY[0], CITY[1] = 18, 255
TREES: dict[
    str,
    tuple[
        Callable[[], dict[str, bytes | str]], dict[str, Any], str, tuple[int, int, int], np.ndarray, list[str]
    ],
] = {
    "VOCSegmentation": (voc, {}, "segmentation", (2, 2, 0), MASK, []),
    "OxfordIIITPet": (
        pets,
        {"options": {"target_types": "segmentation"}},
        "segmentation",
        (4, 0, 4),
        TRIMAP,
        [],
    ),
    "Cityscapes": (cityscapes, {}, "segmentation", (2, 1, 1), CITY, []),
    "KittiFlow": (kitti_flow, {}, "flow", (3, 0, 0), FLOW, ["KittiFlow, split test: 3 items without truth"]),
    "FlyingChairs": (chairs, {}, "flow", (3, 1, 0), FLOW, []),
    "Sintel": (sintel, {}, "flow", (4, 0, 0), FLOW, ["Sintel, split test: its files are not there"]),
    "HD1K": (hd1k, {}, "flow", (3, 0, 0), FLOW, ["HD1K, split test: 1 item without truth"]),
    "SintelStereo": (sintel_stereo, {}, "stereo", (3, 0, 0), DISPARITY, []),
    "Kitti2015Stereo": (
        kitti_stereo,
        {},
        "stereo",
        (3, 0, 0),
        DISPARITY,
        ["Kitti2015Stereo, split test: 3 items without truth"],
    ),
    "Middlebury2014Stereo": (
        middlebury,
        {},
        "stereo",
        (3, 0, 0),
        DISPARITY,
        ["Middlebury2014Stereo, split test: its files are not there"],
    ),
}


def task(name: str) -> Task:
    made: Task = get("task", name)()
    return made


@pytest.mark.parametrize("dataset", TREES)
def test_prepared_end_to_end(tmp_path: Path, dataset: str) -> None:
    files, options, task_name, counts, truth, passed = TREES[dataset]
    root, schema = tree(tmp_path / "root", files()), task(task_name).schema
    reader = TorchVision(root, dataset=dataset, **options)
    check_annotated(reader, task_name, schema)
    found = prepare(reader, schema, task_name, SplitRule(val=0, test=0), tmp_path / "out", 1)
    assert tuple(found.counts.values()) == counts, found.summary()
    skipped = [f"{f.file}: {f.what}" for f in found.findings if f.action == "skipped"]
    assert len(skipped) == len(passed)
    assert all(map(str.startswith, skipped, passed))
    dataset_out = PreparedDataset(tmp_path / "out")
    (column,) = {"mask", "flow", "disparity"} & set(schema.kinds)
    row = next(iter(dataset_out.split("train").rows(0, 1, ("id", schema.images[0], column))))
    np.testing.assert_array_equal(KINDS[schema.kinds[column]].decode(row[column]), truth)
    names = [name for name, data in files().items() if data == row[schema.images[0]]]
    assert row["id"].removeprefix("train/") in names, "the file's own bytes"


def test_class_names(tmp_path: Path) -> None:
    reader = TorchVision(tree(tmp_path, voc()), dataset="VOCSegmentation")
    assert (len(reader.classes), reader.classes[20]) == (21, "tvmonitor")
    assert TorchVision(
        tree(tmp_path, pets()), dataset="OxfordIIITPet", options={"target_types": "segmentation"}
    ).classes == (
        "pet",
        "background",
    )
    city = TorchVision(tree(tmp_path, cityscapes()), dataset="Cityscapes")
    assert (len(city.classes), city.classes[0], city.classes[18]) == (19, "road", "bicycle")
    own = TorchVision(tmp_path, dataset="VOCSegmentation", classes=tuple(map(str, range(21))), void=20)
    assert own.classes == tuple(map(str, range(20)))
    mask = KINDS["mask"].decode(next(iter(own)).maps["mask"]())
    assert (mask[LABELS == 2] == 255).all()


def test_pets_as_classes_and_identities(tmp_path: Path) -> None:
    tree(tmp_path, pets())
    reader = TorchVision(tmp_path, dataset="OxfordIIITPet")
    assert (reader.classes, [r.annotation["label"] for r in reader]) == (
        ("Abyssinian", "Beagle"),
        [0, 0, 1, 1] * 2,
    )
    two = TorchVision(tmp_path, dataset="OxfordIIITPet", options={"target_types": "binary-category"})
    assert two.classes == ("Cat", "Dog")
    who = TorchVision(tmp_path, dataset="OxfordIIITPet", identities=True)
    assert [(r.annotation, r.group) for r in who][:3:2] == [
        ({"identity": 0}, "Abyssinian"),
        ({"identity": 1}, "Beagle"),
    ]
    check_annotated(who, "embedding", task("embedding").schema)


def test_sbd_reads_its_matlab_files(tmp_path: Path) -> None:
    reader = TorchVision(tree(tmp_path, sbd()), dataset="SBDataset")
    assert [(r.split, r.id) for r in reader] == [
        ("train", "train/img/a.jpg"),
        ("train", "train/img/b.jpg"),
        ("val", "val/img/c.jpg"),
    ]
    np.testing.assert_array_equal(KINDS["mask"].decode(next(iter(reader)).maps["mask"]()), LABELS)


def test_a_sequence_is_one_group_and_pairs_that_share_a_first_image_have_ids(tmp_path: Path) -> None:
    records = list(TorchVision(tree(tmp_path, sintel()), dataset="Sintel"))
    assert [r.group for r in records] == [
        f"Sintel/training/clean/{scene}" for scene in ("alley_1", "alley_1", "cave_2", "cave_2")
    ]
    flying = {}
    for i in range(3):
        flying[f"FlyingThings3D/frames_cleanpass/TRAIN/A/0000/left/{i:04d}.png"] = picture(i)
        for way in ("into_future", "into_past"):
            flying[f"FlyingThings3D/optical_flow/TRAIN/A/0000/{way}/left/{i:04d}.pfm"] = pfm.write(
                np.dstack([FLOW + i, DISPARITY])
            )
    reader = TorchVision(tree(tmp_path / "f", flying), dataset="FlyingThings3D")
    assert len({r.id for r in reader}) == len(list(reader)) == 4


def test_iterating_reads_nothing(tmp_path: Path) -> None:
    reader = TorchVision(tree(tmp_path, voc()), dataset="VOCSegmentation")
    for path in [*tmp_path.rglob("*.jpg"), *tmp_path.rglob("*.png")]:
        path.unlink()
    assert len(list(reader)) == 4
    with pytest.raises(OSError, match="No such file"):
        next(iter(reader)).images["image"]()


def test_damaged_files_are_left_out_and_named(tmp_path: Path) -> None:
    root = tree(tmp_path / "root", kitti_flow())
    (root / "KittiFlow/training/flow_occ/000000_10.png").write_bytes(b"no image")
    (root / "KittiFlow/training/image_2/000001_11.png").write_bytes(b"")
    reader = TorchVision(root, dataset="KittiFlow")
    found = prepare(reader, task("flow").schema, "flow", SplitRule(val=0, test=0), tmp_path / "out", 1)
    assert found.counts["train"] == 1
    assert [f.file for f in found.findings if f.action == "left out"] == [
        f"train/KittiFlow/training/image_2/{i:06d}_10.png" for i in range(2)
    ]


def test_the_task_is_found_by_the_root(tmp_path: Path) -> None:
    root = tree(tmp_path, kitti_flow())
    assert recognise(root, schema=task("flow").schema)[0].options == {"dataset": "KittiFlow"}
    with pytest.raises(RequestError, match=r"Type --task .*--task flow\."):
        recognise_for("classification", root, "PATH")
    with pytest.raises(
        RequestError,
        match=r"records of first, flow, second, expected image, label, "
        r"which classification needs. They would do for flow",
    ):
        check_annotated(
            TorchVision(root, dataset="KittiFlow"), "classification", task("classification").schema
        )


@pytest.mark.parametrize(
    ("dataset", "options", "message"),
    [
        (
            "SBDataset",
            {"options": {"mode": "boundaries"}},
            r"\(Image, ndarray 20x6x9\).*\(image, class\).*\(image, mask.*disparity.*flow 2xHxW",
        ),
        ("VOCDetection", {}, r"items are \(Image, dict\).*voc"),
        (
            "VOCSegmentation",
            {"options": {"image_set": "tran"}},
            "Unknown value 'tran' for argument image_set",
        ),
        (
            "VOCSegmentation",
            {"identities": True},
            r"data.format.identities: got a "
            r"value.*no such "
            r"option for items that are "
            r"\(image, mask",
        ),
        ("KittiFlow", {"options": {"split": "test"}}, "no split that has its truth"),
        ("KittiFlow", {"classes": ("a", "b")}, "data.format.classes: got a value"),
        ("Kitti2012Stereo", {}, "Could not find any files.*expected the files of Kitti2012Stereo"),
    ],
)
def test_faults(tmp_path: Path, dataset: str, options: dict[str, Any], message: str) -> None:
    boundaries = {"GTcls": {"Segmentation": LABELS, "Boundaries": sparse_layers()}}
    mat = io.BytesIO()
    savemat(mat, boundaries)
    root = tree(tmp_path, {**voc(), **kitti_flow(), **sbd(), "cls/a.mat": mat.getvalue()})
    tree(root / "VOCdevkit/VOC2012", {f"ImageSets/Main/{split}.txt": "a\n" for split in ("train", "val")})
    tree(
        root / "VOCdevkit/VOC2012",
        {"Annotations/a.xml": "<annotation><object><name>dog</name></object></annotation>"},
    )
    with pytest.raises(RequestError, match=message):
        TorchVision(root, dataset=dataset, **options)


def sparse_layers() -> np.ndarray:
    from scipy.sparse import csc_matrix

    layers = np.empty((20, 1), dtype=object)
    for i in range(20):
        layers[i, 0] = csc_matrix(np.eye(HEIGHT, WIDTH))
    return layers
