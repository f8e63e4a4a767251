"""Batch inference in this process: every kind of input, each row answered, the output whole or not there."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from cvflow.cli.app import app
from cvflow.config import Compute
from cvflow.dataset.prepared import PreparedDataset
from cvflow.engine.export import read_model
from cvflow.errors import RequestError
from cvflow.stages.predict import parts, predict_path
from cvflow.verbs.api import load, predict_batch

HERE = Compute(threads=1, device="cpu")
COLUMNS = ["id", "error", "class", "probabilities", "model_version", "data_hash"]
FAULTY = {0, 1, 2, 3, 4, 5, 6, 7, 20, 89}
"""The numbers of the pictures that are none."""

Source = Callable[[str], tuple[Path, list[str]]]


def table(out: Path) -> list[dict[str, object]]:
    return pq.read_table(out).to_pylist()


@pytest.mark.parametrize("kind", ["folder", "bytes", "struct"])
@pytest.mark.parametrize("batch_size", [7, 256])
def test_every_row_is_answered_in_order(
    kind: str, batch_size: int, source: Source, model: Path, pictures: list[bytes], tmp_path: Path
) -> None:
    path, ids = source(kind)
    written = predict_path(model, "m/3", path, tmp_path / "out", HERE, batch_size)
    rows = table(written.path)
    assert list(rows[0]) == COLUMNS
    assert [row["id"] for row in rows] == ids
    assert (written.rows, written.faults) == (90, 10)
    numbers = [int(Path(str(row["id"])).stem) for row in rows]
    assert {n for n, row in zip(numbers, rows, strict=True) if row["error"] is not None} == FAULTY
    assert {(row["class"], row["probabilities"]) for row in rows if row["error"]} == {(None, None)}
    trained = read_model(model)
    fit = trained.task.transforms(trained.recipe, "test")
    for n, row in zip(numbers, rows, strict=True):
        if n not in FAULTY:
            (sample,) = trained.task.samples({"id": "", "image": pictures[n]})
            with torch.no_grad():
                expected = trained.model(fit(sample).images["image"][None]).softmax(1)[0]
            np.testing.assert_allclose(row["probabilities"], expected.numpy(), atol=1e-6)
            assert row["class"] == trained.info.classes[int(expected.argmax())]
    assert {row["model_version"] for row in rows} == {"m/3"}


def test_what_a_folder_s_names_promise_and_do_not_hold_is_said(
    source: Source, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, ids = source("folder")
    (path / "gone.png").symlink_to(path / "nowhere.png")
    os.mkfifo(path / "pipe.jpg")
    (path / "up").symlink_to(path.parent)
    (path / "linked.png").symlink_to(path / ids[0])
    written = predict_path(model, "m/3", path, tmp_path / "out", HERE)
    assert written.rows == len(ids) + 1
    said = capsys.readouterr().err
    assert (
        "3 passed over: gone.png (a broken link), pipe.jpg (a special file), up (a link to a folder)\n"
        in said
    )
    (tmp_path / "links").mkdir()
    (tmp_path / "links/gone.png").symlink_to("nowhere")
    with pytest.raises(RequestError, match=r"got no images, but gone.png \(a broken link\), expected images"):
        predict_path(model, "m/3", tmp_path / "links", tmp_path / "other", HERE)


def test_views_are_those_that_are_asked_for(source: Source, model: Path, tmp_path: Path) -> None:
    path, _ = source("image")
    pixels = np.asarray(Image.open(path))
    pictures = [pixels, pixels[:, ::-1].copy()]
    plain, mirrored = (answer["probabilities"] for answer in load(model, "cpu").predict(pictures))
    assert not np.allclose(plain, mirrored, atol=1e-4)
    both = [
        answer["probabilities"] for answer in load(model, "cpu", views=["horizontal_flip"]).predict(pictures)
    ]
    np.testing.assert_allclose(both[0], both[1], atol=1e-6)
    written = predict_batch(model, path, tmp_path / "out", views=[{"name": "horizontal_flip"}])
    np.testing.assert_allclose(table(written.path)[0]["probabilities"], both[0], atol=1e-6)
    with pytest.raises(RequestError, match="got 'horizontal_flop'.*Did you mean 'horizontal_flip'"):
        load(model, views=["horizontal_flop"])
    with pytest.raises(RequestError, match="views: got 3, expected a view's name"):
        load(model, views=[3])  # type: ignore[list-item]
    said = CliRunner().invoke(
        app, ["predict", str(model), str(path), "--view", "{name: five_crops, scale: 9}"]
    )
    assert "--view.scale: got 9" in str(said.exception)


def test_a_split_of_a_prepared_dataset(
    source: Source, model: Path, digits: PreparedDataset, tmp_path: Path
) -> None:
    path, ids = source("prepared")
    rows = table(predict_path(model, "m/3", path, tmp_path / "out", HERE).path)
    assert [row["id"] for row in rows] == ids
    assert {row["data_hash"] for row in rows} == {digits.digest}
    val = predict_path(model, "m/3", path, tmp_path / "val", HERE, split="val")
    assert (val.rows, val.faults) == (digits.info.counts["val"], 0)


def test_a_single_image(source: Source, model: Path, tmp_path: Path) -> None:
    path, ids = source("image")
    (row,) = table(predict_path(model, "m/3", path, tmp_path / "out", HERE).path)
    assert [row["id"]] == ids
    assert row["error"] is None


def test_a_name_that_is_no_utf8(model: Path, pictures: list[bytes], tmp_path: Path) -> None:
    for name in (b"\xff.png", b"a.png"):
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / os.fsdecode(name)).write_bytes(pictures[-2])
    written = predict_path(model, "m/3", tmp_path / "in", tmp_path / "out", HERE, overlays=2)
    assert [(row["id"], row["error"]) for row in table(written.path)] == [
        ("a.png", None),
        ("\\udcff.png", None),
    ]


def test_nothing_but_unreadable_images(model: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(b"")
    written = predict_path(model, "m/3", tmp_path / "in", tmp_path / "out", HERE)
    assert (written.rows, written.faults) == (1, 1)
    assert [(row["id"], row["error"]) for row in table(written.path)] == [("a.png", "empty file")]


def test_the_hash_follows_the_pictures(source: Source, model: Path, tmp_path: Path) -> None:
    path, _ = source("folder")

    def said() -> set[object]:
        return {
            row["data_hash"] for row in table(predict_path(model, "m/3", path, tmp_path / "out", HERE).path)
        }

    before = said()
    assert said() == before
    (path / "a" / "000.png").write_bytes(b"another")
    assert len(before | said()) == 2


def test_many_rows_go_to_several_parts(
    source: Source, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "PART_ROWS", 40)
    path, ids = source("bytes")
    out = predict_path(model, "m/3", path, tmp_path / "out", HERE, batch_size=16).path
    assert [p.name for p in sorted(out.iterdir())] == [
        "part-00000.parquet",
        "part-00001.parquet",
        "part-00002.parquet",
    ]
    assert [row["id"] for row in table(out)] == ids


def test_a_source_that_fails_half_way_leaves_the_old_answers(
    source: Source, model: Path, tmp_path: Path
) -> None:
    path, ids = source("bytes")
    out = predict_path(model, "m/3", path, tmp_path / "out", HERE).path
    data = bytearray(path.read_bytes())
    last = pq.read_metadata(path).row_group(2).column(2)
    start = last.dictionary_page_offset or last.data_page_offset
    data[start : start + last.total_compressed_size] = b"\xff" * last.total_compressed_size
    path.write_bytes(data)
    with pytest.raises(
        RequestError, match=r"bytes\.parquet: got damaged content .*, expected a Parquet file that is whole"
    ):
        predict_path(model, "m/4", path, out, HERE, batch_size=8)
    rows = table(out)
    assert [row["id"] for row in rows] == ids
    assert {row["model_version"] for row in rows} == {"m/3"}
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


@pytest.mark.parametrize("name", ["nowhere", "empty", "words.txt"])
def test_what_cannot_be_predicted_is_refused(name: str, model: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "words.txt").write_text("words")
    with pytest.raises(RequestError, match=name):
        predict_path(model, "m/3", tmp_path / name, tmp_path / "out", HERE)
    assert not (tmp_path / "out").exists()


def test_only_an_earlier_prediction_is_replaced(source: Source, model: Path, tmp_path: Path) -> None:
    path, _ = source("folder")
    before = sorted(path.rglob("*"))
    with pytest.raises(RequestError, match="--out: got .*, which holds .*, expected a new folder"):
        predict_path(model, "m/3", path, path, HERE)
    assert sorted(path.rglob("*")) == before
    out = tmp_path / "out"
    assert (
        predict_path(model, "m/3", path, out, HERE).rows == predict_path(model, "m/4", path, out, HERE).rows
    )
    assert {row["model_version"] for row in table(out)} == {"m/4"}
