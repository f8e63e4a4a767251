"""Runs beside each other: figures are the runs' own, images are joined by id, the test is McNemar's."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

from cvflow.cli.app import app
from cvflow.errors import RequestError
from cvflow.project.graph import Run
from cvflow.stages.register.model_card import model_card
from cvflow.stages.report.finished_run import Finished
from cvflow.verbs.compare import compare
from cvflow.verbs.disagreement import Disagreement, exact_mcnemar

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")
ANSWERS = Path("runs/bad/evaluation/predictions.parquet")


@pytest.fixture
def compared(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the finished project, to be changed."""
    shutil.copytree(finished, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    return tmp_path / "copy"


def rewrite(path: Path, change) -> None:  # type: ignore[no-untyped-def]
    rows = change(pq.read_table(path).to_pylist())
    path.unlink()
    pq.write_table(pa.Table.from_pylist(rows), path)


def read(name: str, file: str) -> dict:  # type: ignore[type-arg]
    return json.loads((Path("runs") / name / file).read_text())


def test_a_comparison_has_the_runs_own_figures(compared: Path) -> None:
    found = compare(["good", "bad"])
    assert found.same_data
    assert next(iter(found.metrics)) == "accuracy"
    for name, row in found.metrics.items():
        assert row == [read(run, "evaluation/metrics.json")["metrics"][name] for run in ("good", "bad")]
    assert found.recipe == {"train.epochs": ["8", "0"]}
    assert found.cost["epochs"] == [8, 0]
    assert found.cost["training seconds"][1] is None
    assert found.cost["training fingerprint"][0] == read("good", "model/model.json")["fingerprint"]
    html = Path("runs/compare-good-bad.html").read_text()
    for said in (
        "good right, bad wrong",
        "McNemar",
        "Validation accuracy",
        "train.epochs",
        "All measured on test of",
    ):
        assert said in html, said
    digest = read("good", "evaluation/metrics.json")["data_digest"]
    assert f'<td title="test of {digest}">test of {digest[:8]}</td>' in html
    assert f"All measured on test of {digest[:8]}." in html
    assert found.cost["training fingerprint"][0][:8] in html
    json.dumps(found.plain())
    assert found.plain()["recipe"]["train.epochs"] == {"good": "8", "bad": "0"}


def test_the_recipe_is_the_model_s_where_the_run_s_was_changed_since(compared: Path) -> None:
    path = Path("runs/good/recipe.yaml")
    changed = yaml.safe_load(path.read_text())
    changed["train"]["epochs"], changed["image"]["size"], changed["data"]["split"]["val"] = 3, [10, 10], 0.3
    changed["model"]["weights"], changed["cvflow"]["weights"] = "other.safetensors", "0" * 64
    path.unlink()
    path.write_text(yaml.safe_dump(changed))
    assert compare(["good", "bad"]).recipe == {"train.epochs": ["8", "0"]}
    assert Finished(Run("good")).recipe.image.size == (12, 12)
    card = model_card(Run("good"), "good", "0")
    assert "size:\n  - 12" in card
    assert "val: 0.2" in card
    assert "| started from | random weights |" in card


def test_what_is_empty_in_one_run_is_one_difference(compared: Path) -> None:
    path = Path("runs/good/model/model.json")
    made = json.loads(path.read_text())
    made["recipe"]["train"]["augment"] = [{"name": "horizontal_flip"}]
    path.unlink()
    path.write_text(json.dumps(made))
    bad = json.loads((other := Path("runs/bad/model/model.json")).read_text())
    bad["recipe"]["train"]["augment"] = []
    other.unlink()
    other.write_text(json.dumps(bad))
    augment = {key: row for key, row in compare(["good", "bad"]).recipe.items() if "augment" in key}
    assert augment == {"train.augment.0.name": ["horizontal_flip", None]}


def test_the_card_says_what_the_model_has_seen_and_started_from(compared: Path) -> None:
    card = model_card(Run("good"), "good", "0")
    assert "which it was not trained on" in card
    assert "| started from | random weights |" in card
    path = Path("runs/good/validation.json")
    checked = json.loads(path.read_text())
    checked["findings"].append(
        {"file": "a.png", "what": "in test, too", "action": "kept", "topic": "train and test share"}
    )
    path.unlink()
    path.write_text(json.dumps(checked))
    card = model_card(Run("good"), "good", "0")
    assert "1 of whose images are in train, too" in card
    assert "not trained on" not in card


def test_disagreements_are_joined_by_id_whatever_the_order(compared: Path) -> None:
    (before,) = compare(["good", "bad"]).disagreements
    answers = {
        name: pq.read_table(f"runs/{name}/evaluation/predictions.parquet").to_pylist()
        for name in ("good", "bad")
    }
    pairs = [(a["right"], b["right"]) for a, b in zip(answers["good"], answers["bad"], strict=True)]
    assert (before["only_first"], before["only_second"]) == (
        pairs.count((True, False)),
        pairs.count((False, True)),
    )
    assert (before["both_right"], before["both_wrong"]) == (
        pairs.count((True, True)),
        pairs.count((False, False)),
    )
    assert before["only_first"] > 0
    rewrite(ANSWERS, lambda rows: rows[::-1])
    assert compare(["good", "bad"]).disagreements == [before]
    rewrite(ANSWERS, lambda rows: rows[2:])
    assert compare(["good", "bad"]).disagreements[0]["images"] == len(pairs) - 2


def test_the_pictures_are_those_that_one_run_alone_gets_right(compared: Path) -> None:
    pair = Disagreement(Finished(Run("good")), Finished(Run("bad")), True)
    picked = pair.better(1)
    right = {row["id"]: row["right"] for row in pq.read_table(ANSWERS).to_pylist()}
    ids = [pair.first.column("id")[pair.places[i, 0]] for i in picked]
    assert ids
    assert not any(right[id] for id in ids)
    assert list(pair.gain[picked]) == sorted(pair.gain[picked], reverse=True)
    first = next(pair.items(picked))
    assert first.note == pair.first.find(ids[:1])[ids[0]].row["path"]
    assert first.caption.startswith(f"{Path(first.note).parts[0]}: good {Path(first.note).parts[0]} ")


def test_other_data_is_said_and_not_tested(compared: Path) -> None:
    metrics = read("bad", "evaluation/metrics.json")
    path = Path("runs/bad/evaluation/metrics.json")
    path.unlink()
    path.write_text(json.dumps(metrics | {"data_digest": "0" * 32 + ".dir"}))
    found = compare(["good", "bad"], Path("out/page.html"))
    assert not found.same_data
    assert found.disagreements[0]["p_value"] is None
    assert found.disagreements[0]["images"] > 0
    html = Path("out/page.html").read_text()
    assert "Not measured on the same data" in html
    assert "no test" in html


def test_answers_that_are_only_better_or_worse_are_compared_by_quality(compared: Path) -> None:
    rewrite(ANSWERS, lambda rows: [{k: v for k, v in row.items() if k != "right"} for row in rows])
    found = compare(["good", "bad"])
    assert "only_first" not in found.disagreements[0]
    assert found.disagreements[0]["p_value"] is None
    assert "good better than bad" in Path(found.page).read_text()


def test_no_number_is_the_worst_answer(compared: Path) -> None:
    rewrite(ANSWERS, lambda rows: [row | {"quality": math.nan} for row in rows])
    pair = Disagreement(Finished(Run("good")), Finished(Run("bad")), True)
    assert (pair.gain == math.inf).all()
    same = replace(pair, first=pair.second)
    assert (same.gain == 0).all()


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["good"], "RUN: got good, expected two different runs or more"),
        (["good", "good"], "expected two different runs or more"),
        (["good", "bda"], "got 'bda', expected one of bad, good. Did you mean 'bad'"),
    ],
)
def test_wrong_names_are_refused(compared: Path, names: list[str], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        compare(names)
    assert not list(Path("runs").glob("compare-*"))


def test_a_run_that_is_not_finished_is_named(compared: Path) -> None:
    shutil.rmtree("runs/bad/evaluation")
    with pytest.raises(
        RequestError,
        match=r"runs/bad/evaluation: got nothing, .* Type 'cvflow run pipelines/squares.yaml --name bad'",
    ):
        compare(["good", "bad"])


def test_the_verb_prints_tables_or_json(compared: Path) -> None:
    lines = CliRunner().invoke(app, ["compare", "good", "bad", "-o", "page.html"]).stdout.splitlines()
    tables = {line.split()[0]: line.split()[1:] for line in lines if line and not line.startswith("of ")}
    assert tables["MEASURE"] == tables["RECIPE"] == tables["COST"] == ["good", "bad"]
    assert tables["train.epochs"] == ["8", "0"]
    assert tables["page"] == ["page.html"]
    assert any(
        line.startswith("of 13 images, only good right: ") and "McNemar's exact test p = " in line
        for line in lines
    )
    said = json.loads(CliRunner().invoke(app, ["compare", "good", "bad", "--json"]).stdout)
    assert (
        said["metrics"]["accuracy"]["good"] == read("good", "evaluation/metrics.json")["metrics"]["accuracy"]
    )
    assert said["page"] == "runs/compare-good-bad.html"


def test_mcnemar_is_the_binomial_test_of_the_discordant() -> None:
    for b, c in ((0, 0), (5, 5), (1, 9), (9, 1), (0, 6), (225, 2)):
        tail = sum(math.comb(b + c, k) for k in range(min(b, c) + 1)) / 2 ** (b + c)
        assert exact_mcnemar(b, c) == pytest.approx(min(1, 2 * tail)), (b, c)
