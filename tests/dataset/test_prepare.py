"""Prepare as a whole: damaged files named, same bytes, honest statistics, clear refusals."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from cvflow.annotations.image import decode
from cvflow.config import SplitRule
from cvflow.dataset.findings import duplicates, imbalance, uneven
from cvflow.dataset.prepare import prepare
from cvflow.dataset.prepared import FILE, PreparedDataset, directory_digest
from cvflow.errors import RequestError
from cvflow.formats.built_in.digits import Digits
from cvflow.formats.image_folder import ImageFolder
from cvflow.tasks.classification import Classification


@pytest.fixture
def run(tmp_path, labelled):
    """``run(source)``: prepare an ImageFolder into tmp_path/out; the dataset and the validation."""

    def go(source, out="out", rule=SplitRule()):  # noqa: B008  a frozen model
        validation = prepare(ImageFolder(source), labelled, "classification", rule, tmp_path / out, 1)
        return PreparedDataset(tmp_path / out), validation

    return go


def rows_of(dataset, split):
    reader = dataset.split(split)
    return [reader[i] for i in range(len(reader))]


def test_every_image_arrives_unchanged(make_folder, run):
    source = make_folder({"a": 20, "b": 10})
    dataset, validation = run(source)
    rows = [row for split in ("train", "val", "test") for row in rows_of(dataset, split)]
    assert {row["id"] for row in rows} == {p.relative_to(source).as_posix() for p in source.rglob("*.png")}
    assert all(row["image"] == (source / row["path"]).read_bytes() for row in rows)
    assert all(row["label"] == "ab".index(row["id"][0]) for row in rows)
    assert dataset.info.counts == validation.counts == {"train": 22, "val": 2, "test": 6}
    assert dataset.info.extra["class_counts"]["test"] == {"a": 4, "b": 2}
    assert (dataset.info.task, dataset.info.classes) == ("classification", ("a", "b"))
    assert validation.summary() == "prepared: train 22, val 2, test 6; 1 noticed"
    assert [(f.file, f.what) for f in validation.findings] == [("class 'b'", "7 training images")]


def test_a_column_that_the_data_lack_gets_its_default(make_folder, tmp_path):
    schema = Classification().schema
    prepare(
        ImageFolder(make_folder({"a": 5, "b": 5})),
        schema,
        "classification",
        SplitRule(val=0, test=0),
        tmp_path / "out",
        1,
    )
    reader = PreparedDataset(tmp_path / "out").split("train")
    assert reader.column("weight") == [1.0] * 10
    assert reader.column("label") == [0] * 5 + [1] * 5


def test_mean_and_std_are_those_of_the_train_pixels(make_folder, run):
    dataset, _ = run(make_folder({"a": 20, "b": 10}))
    pixels = np.concatenate([decode(row["image"]).reshape(-1, 3) for row in rows_of(dataset, "train")]) / 255
    assert dataset.info.mean == pytest.approx(pixels.mean(0), abs=1e-12)
    assert dataset.info.std == pytest.approx(pixels.std(0), abs=1e-12)


def test_same_input_same_bytes_and_another_input_another_digest(make_folder, run):
    source = make_folder({"a": 40, "b": 40})
    one, _ = run(source, "one")
    two, _ = run(shutil.copytree(source, source.parent / "elsewhere"), "two")
    assert one.digest == two.digest
    (source / "a/000.png").write_bytes((source / "a/000.png").read_bytes() + b"\0")
    three, _ = run(source, "three")
    assert three.digest != one.digest
    assert three.info.source_digest != one.info.source_digest


def test_damaged_files_are_named_and_left_out(make_folder, run):
    source = make_folder({"a": 10, "b": 10})
    (source / "a/000.png").write_bytes(b"")
    (source / "a/001.png").write_bytes((source / "a/001.png").read_bytes()[:-60])
    (source / "b/000.png").write_text("<script>alert(1)</script>")
    (source / "b/notes.txt").write_text("x")
    dataset, validation = run(source)
    assert sum(dataset.info.counts.values()) == 17
    found = {f.file: (f.what, f.action) for f in validation.findings}
    assert found["a/000.png"] == ("empty file", "left out")
    assert found["a/001.png"][0].startswith("damaged image")
    assert found["b/000.png"] == ("not an image", "left out")
    assert found["b/notes.txt"] == ("not an image's file name", "skipped")
    assert validation.plain()["findings"][0]["file"] == "a/000.png"
    assert "3 left out; 2 noticed; 1 skipped\n  a/000.png: empty file" in validation.summary()


def test_odd_file_names(make_folder, run):
    source = make_folder({"a": 9, "b <i>": 9})
    os.rename(source / "a/000.png", os.fsencode(source / "a") + b"/\xff.png")
    os.rename(source / "a/001.png", source / "a/ü 1.png")
    dataset, validation = run(source)
    assert [(f.file, f.what) for f in validation.findings if f.action == "left out"] == [
        ("a/\\udcff.png", "a file name that is not UTF-8")
    ]
    assert "a/ü 1.png" in {row["id"] for split in ("train", "val", "test") for row in rows_of(dataset, split)}


def test_the_same_picture_in_two_splits_is_reported_and_kept(make_folder, run):
    source = make_folder({"train/a": 8, "train/b": 8, "test/a": 2})
    shutil.copy(source / "train/a/003.png", source / "test/a/copy.png")
    dataset, validation = run(source)
    finding = validation.findings[0]
    assert (finding.action, finding.topic) == ("kept", "train and test share")
    assert "  1 images: train and test share them" in validation.summary()
    assert {finding.file, finding.what.split()[6]} == {"train/a/003.png", "test/a/copy.png"}
    assert dataset.info.counts["test"] == 3


def test_duplicates_within_a_split_or_left_out_are_no_finding():
    contents = np.array([5, 7, 5, 5, 7, 9], dtype=np.uint64)
    same = np.zeros(6, dtype=np.int32)
    assert duplicates(contents, np.array([0, 0, 2, 0, 0, 1], dtype=np.int8), same) == [(0, 2)]
    assert duplicates(contents, np.array([0, 0, -1, 0, 2, 1], dtype=np.int8), same) == [(1, 4)]
    assert duplicates(contents[:0], np.zeros(0, dtype=np.int8), same[:0]) == []


def test_one_image_with_two_labels(make_folder, run):
    source = make_folder({"a": 12, "b": 12})
    shutil.copy(source / "a/003.png", source / "b/copy.png")
    _, validation = run(source, rule=SplitRule(val=0, test=0))
    (finding,) = [f for f in validation.findings if f.topic == "two labels"]
    assert str(finding) == "b/copy.png: labelled 'b', the same bytes as a/003.png, labelled 'a'"


def test_uneven_and_tiny_classes(make_folder, run):
    _, validation = run(make_folder({"a": 30, "b": 3}), rule=SplitRule(val=0, test=0))
    assert [str(f) for f in validation.findings] == [
        "all classes: 'a' has 10 times the training images of 'b'",
        "class 'b': 3 training images",
    ]
    assert validation.facts["imbalance"] == 10


def test_an_empty_class_is_named_and_no_ratio_passes_over_it():
    assert imbalance({"a": 30, "b": 3}) == 10
    assert imbalance({"a": 30, "b": 3, "c": 0}) is None
    assert imbalance({}) is None
    assert [str(f) for f in uneven({"a": 30, "b": 30, "c": 0})] == ["class 'c': no training images"]


def test_an_emptied_class_is_refused_and_leaves_nothing(make_folder, run, tmp_path):
    source = make_folder({"a": 5, "b": 2})
    for path in (source / "b").iterdir():
        path.write_bytes(b"rubbish")
    with pytest.raises(
        RequestError, match=r"class 'b' without a usable record in train.*b/000\.png: not an image"
    ):
        run(source)
    assert [p.name for p in tmp_path.iterdir()] == ["source"]


def test_a_folder_of_something_else_is_not_replaced(make_folder, run, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.txt").write_text("x")
    with pytest.raises(RequestError, match="something else than a prepared dataset"):
        run(make_folder({"a": 3, "b": 3}))
    assert (tmp_path / "out/thesis.txt").read_text() == "x"


def test_prepared_again_replaces_the_old_and_the_source_is_untouched(make_folder, run):
    source = make_folder({"a": 5, "b": 5})
    before = {p: (p.read_bytes() if p.is_file() else None, p.stat().st_mtime_ns) for p in source.rglob("*")}
    old, _ = run(source)
    again, _ = run(source, rule=SplitRule(test=0.4))
    assert again.info.counts["test"] == 4 != old.info.counts["test"]
    assert before == {
        p: (p.read_bytes() if p.is_file() else None, p.stat().st_mtime_ns) for p in source.rglob("*")
    }


def test_digits_prepare(tmp_path, labelled):
    validation = prepare(Digits(None), labelled, "classification", SplitRule(), tmp_path / "out", 64)
    assert validation.counts == {"train": 1294, "val": 144, "test": 359}
    assert min(validation.class_counts["test"].values()) >= 34


def test_published_portraits(shared_data, tmp_path, labelled):
    validation = prepare(
        ImageFolder(shared_data / "orl_faces"), labelled, "x", SplitRule(), tmp_path / "out", 64
    )
    assert validation.counts == {"train": 288, "val": 32, "test": 80}
    assert set(validation.class_counts["test"].values()) == {2}


def test_what_is_no_dataset_is_refused(make_folder, run, tmp_path):
    with pytest.raises(RequestError, match="no such file.*Run prepare again"):
        PreparedDataset(tmp_path)
    dataset, _ = run(make_folder({"a": 3, "b": 3}), rule=SplitRule(val=0, test=0))
    with pytest.raises(RequestError, match="split 'test': got no rows, expected a filled split: train"):
        dataset.split("test")
    path = dataset.path / FILE
    path.write_text(path.read_text().replace('"schema_version": 2', '"schema_version": 99'))
    with pytest.raises(RequestError, match="schema version 99, expected version 2. Run prepare again"):
        PreparedDataset(dataset.path)
    path.write_text("{")
    with pytest.raises(RequestError, match="unreadable content"):
        PreparedDataset(dataset.path)


def test_digest_is_the_one_dvc_gives(make_folder, run, tmp_path):
    dataset, _ = run(make_folder({"a": 40, "b": 40}))
    (dataset.path / "ünter ordner").mkdir()
    (dataset.path / "ünter ordner/z.txt").write_text("z\r\n")
    (dataset.path / "ünter.txt").write_text("sorted beside the folder")
    dvc = [sys.executable, "-m", "dvc"]
    environment = {
        **os.environ,
        "DVC_NO_ANALYTICS": "1",
        "DVC_SITE_CACHE_DIR": str(tmp_path / "site"),
        "HOME": str(tmp_path),
    }
    for command in (["init", "--no-scm", "-q"], ["add", "-q", "out"]):
        subprocess.run([*dvc, *command], cwd=tmp_path, env=environment, check=True)
    recorded = (tmp_path / "out.dvc").read_text()
    assert f"md5: {directory_digest(dataset.path)}\n" in recorded
