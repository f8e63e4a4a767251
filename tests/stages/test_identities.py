"""Embedding through every stage, in this process.

The built-in numbers, their vectors in Parquet, the report, and ``identify``.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

from cvflow.cli.app import app
from cvflow.draw.images import Lineups
from cvflow.errors import RequestError
from cvflow.project.graph import STAGES, Run
from cvflow.project.pipeline import run_stage
from cvflow.project.project import make_entry, shipped, write_entry
from cvflow.registry import Component, build
from cvflow.stages.report import sections
from cvflow.stages.report.finished_run import Finished
from cvflow.verbs.identify import identify, identity_of

SMALL = {
    "data.format": {"name": "digit_identities", "identities": 48, "images": 6},
    "model.backbone.width": 16,
    "train.epochs": 12,
    "train.batch_size": 32,
    "register.promote.threshold": 0.15,
    "compute.threads": 1,
    "compute.device": "cpu",
}


@pytest.fixture(scope="module")
def numbers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with one run, all its stages done by the shipped recipe made small. Only to be looked at."""
    root = tmp_path_factory.mktemp("numbers")
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's
        patch.chdir(root)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        write_entry("numbers", make_entry(shipped()["embedding-samples"], SMALL))
        for stage in ["resolve", *(stage.name for stage in STAGES)]:
            run_stage(stage, "numbers")
    return root


@pytest.fixture
def here(numbers: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(numbers)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return numbers


@pytest.fixture
def images(here: Path, tmp_path: Path) -> Path:
    """``gallery``: an image of each test number, in a folder of its name.

    ``probes``: another image of each, and a damaged file.
    """
    for record in build("format", Component.model_validate(SMALL["data.format"]), None):
        number, copy = record.id.split("/")
        if record.split == "test" and copy in ("00", "01"):
            path = tmp_path / ("gallery" if copy == "00" else "probes") / number / f"{copy}.png"
            path.parent.mkdir(parents=True)
            path.write_bytes(record.images["image"]())
    (tmp_path / "probes" / "damaged.png").write_bytes(b"no image")
    return tmp_path


def test_vectors_are_better_than_chance_and_stand_in_parquet(here: Path) -> None:
    metrics = json.loads(Path("runs/numbers/evaluation/metrics.json").read_text())["metrics"]
    assert metrics["recall_at_1"] > 1.5 * 5 / 47  # by chance 5 of 47
    assert -1 <= metrics["eer_threshold"] <= 1
    table = pa.concat_tables(
        pq.read_table(part) for part in Path("runs/numbers/predictions").glob("part-*.parquet")
    )
    assert table.schema.field("embedding").type == pa.list_(pa.float32())
    assert table.num_rows == 48
    assert {len(vector) for vector in table.column("embedding").to_pylist()} == {64}


def test_no_identity_is_in_two_splits(here: Path) -> None:
    data = Finished(Run("numbers")).dataset
    members = [set(data.split(split).column("identity")) for split in ("train", "val", "test")]
    assert [len(part) for part in members] == [32, 8, 8]
    assert len(set.union(*members)) == 48


def test_the_report_shows_the_nearest_neighbours(here: Path) -> None:
    done = Finished(Run("numbers"))
    found = {section.title: section.blocks for section in sections(done)}
    kinds = [block.kind for block in found["Details"]]
    assert sorted(kinds) == ["curves", "curves", "lineups"]
    (lineups,) = (block for block in found["Details"] if isinstance(block, Lineups))
    assert all(item.image.shape == (16, 44, 3) for row in lineups.rows for item in row)
    assert "Images" not in found  # no answer is better than another by itself
    html = Path("runs/numbers/report.html").read_text()
    assert "impostor pairs accepted" in html
    assert lineups.rows[0][0].caption in html


def test_a_gallery_says_whom_images_show(images: Path) -> None:
    found, threshold = identify("runs/numbers/model", images / "gallery", images / "probes")
    assert (
        threshold
        == json.loads(Path("runs/numbers/evaluation/metrics.json").read_text())["metrics"]["eer_threshold"]
    )
    damaged, *answers = sorted(found, key=lambda one: one.id != "damaged.png")
    assert (damaged.error, damaged.identity, damaged.accepted) == ("not an image", None, None)
    assert len(answers) == 8
    assert {one.identity for one in answers} <= {path.name for path in (images / "gallery").iterdir()}
    assert any(one.identity == one.id.split("/")[0] for one in answers)
    for one in answers:
        assert one.nearest == f"{one.identity}/00.png"
        assert one.accepted is (one.similarity is not None and one.similarity >= threshold)
    assert all(
        one.accepted is False
        for one in identify("runs/numbers/model", images / "gallery", images / "probes", 1.1)[0][:8]
    )


def test_an_image_is_most_like_itself(images: Path) -> None:
    found, _ = identify("numbers", images / "gallery", images / "gallery", 0.999)
    assert all(one.nearest == one.id and one.accepted for one in found)
    assert [found[0].similarity] == pytest.approx([1.0], abs=1e-6)


def test_the_verb_prints_a_line_an_image(images: Path) -> None:
    arguments = ["identify", "numbers", str(images / "gallery"), str(images / "probes")]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert lines[0].split() == ["IMAGE", "IDENTITY", "SIMILARITY", "ACCEPTED", "NEAREST"]
    assert len(lines) == 11
    assert "accepted from a similarity of" in lines[-1]
    answers = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).output)
    assert len(answers["answers"]) == 9


def test_what_cannot_be_identified_is_said(images: Path) -> None:
    (images / "none").mkdir()
    (images / "none" / "a.png").write_bytes(b"")
    with pytest.raises(RequestError, match="without an image that can be read"):
        identify("runs/numbers/model", images / "none", images / "probes")
    assert [identity_of(id) for id in ("s1/3.pgm", "anna.jpg", "Latin/a/1.png")] == ["s1", "anna", "Latin/a"]


def test_a_model_that_compares_nothing_is_refused(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(finished)
    with pytest.raises(RequestError, match="got a model of classification, expected one that gives vectors"):
        identify("runs/good/model", Path("raw"), Path("raw"))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"train": {"batch_size": 30}},
            "train.batch_size: got 30, expected a multiple of train.sampler.images, 4",
        ),
        ({"train": {"mix": "mixup"}}, "train.mix: got mixup, expected whole images"),
        ({"task": {"name": "embedding", "loss": {"name": "triplet", "margin": 3}}}, "task.loss.margin"),
    ],
)
def test_wrong_recipes_are_refused_before_the_work(
    changed: dict[str, object], message: str, project: Path, faults: object
) -> None:
    recipe = {"task": "embedding", "data": {"format": "digit_identities"}, "model": "embedder", **changed}
    path = project / "r.yaml"
    path.write_text(yaml.safe_dump(recipe))
    assert message in "\n".join(str(fault) for fault in faults(path))  # type: ignore[operator]
