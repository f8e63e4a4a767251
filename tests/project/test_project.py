"""A project directory: which recipe and run are meant, params.yaml with others' keys, dvc.yaml, the
DVC set-up.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from cvflow.errors import RequestError
from cvflow.project import pipeline, project
from cvflow.project.graph import read_runs
from cvflow.runtime import dvc

Write = Callable[..., Path]


def test_recipes_are_found_by_name_and_by_path(write: Write) -> None:
    assert project.locate("digits") == project.shipped()["digits"]
    own = write(pipelines__digits_yaml="task: classification\n")
    assert project.locate("digits") == own
    assert project.locate("./pipelines/digits.yaml") == own
    with pytest.raises(
        RequestError,
        match=r"got 'digit', expected one of digits, .*, or a YAML path\. Did you mean 'digits'\?",
    ):
        project.locate("digit")
    with pytest.raises(RequestError, match=r"got 'lost\.yaml', expected a YAML file that exists"):
        project.locate("lost.yaml")


def test_overrides_are_yaml() -> None:
    parsed = project.parse_overrides(["a=1", "b.c=[2, x]", "d=", "f={name: g, h: 1}", "i=a=b"])
    assert parsed == {"a": 1, "b.c": [2, "x"], "d": None, "f": {"name": "g", "h": 1}, "i": "a=b"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["epochs", "=3", "a=1"], r"'epochs': got no '='.*\n'=3': got no key"),
        (["a=[1"], r"'a=\[1': got a value that is not YAML"),
    ],
)
def test_malformed_overrides(arguments: list[str], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        project.parse_overrides(arguments)


@pytest.mark.parametrize(("name", "fix"), [("a b", "a-b"), ("Zürich!", "z-rich"), ("-x", "x"), ("ü", "run")])
def test_names_that_dvc_and_mlflow_cannot_take(name: str, fix: str) -> None:
    with pytest.raises(RequestError, match=f"Type --name {fix}\\."):
        project.run_name(Path(f"{name}.yaml"), None)


def test_an_entry_names_what_dvc_watches(write: Write) -> None:
    built_in = write(r_yaml="data: {format: digits}\n")
    assert project.make_entry(built_in, {"seed": 1}) == {
        "recipe": "r.yaml",
        "source": "r.yaml",
        "overrides": {"seed": 1},
    }
    assert project.make_entry(built_in, {"data.source": "./raw/"})["source"] == "raw"
    assert project.make_entry(write(deep__s_yaml="data: {source: ../raw/}\n"), {})["source"] == "raw"


def test_params_yaml_keeps_the_keys_and_comments_of_others(write: Write) -> None:
    write(
        params_yaml="""\
            # ours
            lr: 1.0e-3  # for the other pipeline
            runs:
              old: {recipe: o.yaml, source: o.yaml, overrides: {}}  # do not touch
            last: [1,
                   2]
            """
    )
    project.write_entry("new", {"recipe": "n.yaml", "source": "raw", "overrides": {"train.epochs": 3}})
    text = Path("params.yaml").read_text()
    for kept in ("# ours", "# for the other pipeline", "# do not touch", "lr: 1.0e-3"):
        assert kept in text
    content = yaml.safe_load(text)
    assert list(content) == ["lr", "runs", "last"]
    assert (content["lr"], content["last"]) == (1e-3, [1, 2])
    assert list(content["runs"]) == ["old", "new"]
    assert content["runs"]["new"]["overrides"] == {"train.epochs": 3}


def test_two_at_once_both_keep_their_run(project: Path) -> None:
    names = [f"r{i}" for i in range(12)]
    with ThreadPoolExecutor(12) as pool:
        list(
            pool.map(
                lambda name: pipeline.project.write_entry(
                    name, {"recipe": "r", "source": "r", "overrides": {}}
                ),
                names,
            )
        )
    assert set(read_runs()) == set(names)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("runs: [a]\n", "params.yaml runs.*a list.*mapping"),
        ("- runs\n", "params.yaml.*a list.*mapping"),
        ("runs: {a: 3}\n", r"params.yaml runs\.a: got 3, .*--name a"),
        ("runs: {a: {recipe: r.yaml}}\n", "params.yaml runs.a.*source"),
        ("runs: {a\n", "params.yaml:2.*YAML"),
    ],
)
def test_a_broken_params_yaml_is_named(write: Write, text: str, message: str) -> None:
    write(params_yaml=text)
    with pytest.raises(RequestError, match=message):
        read_runs()


def test_a_foreign_pipeline_is_refused_before_anything_is_written(write: Write, project: Path) -> None:
    write(dvc_yaml="stages: {}\n")
    for refused in (lambda: pipeline.run("digits"), lambda: pipeline.dry_run("digits")):
        with pytest.raises(RequestError, match="a pipeline of your own"):
            refused()
    assert [path.name for path in project.iterdir()] == ["dvc.yaml"]
    assert Path("dvc.yaml").read_text() == "stages: {}\n"


def test_a_run_s_name_belongs_to_one_recipe(write: Write, project: Path) -> None:
    write(
        params_yaml="runs: {mine: {recipe: other.yaml, source: other.yaml, overrides: {}}}\n",
        mine_yaml="task: classification\n",
    )
    before = sorted(project.iterdir())
    with pytest.raises(RequestError, match=r"got 'mine', the run of other\.yaml, .*Type --name mine-2"):
        pipeline.run("mine.yaml")
    assert sorted(project.iterdir()) == before


def test_a_dry_run_in_an_empty_directory_writes_nothing(project: Path) -> None:
    steps = pipeline.dry_run("digits", {"train.epochs": 3})
    assert [step.stage for step in steps] == ["prepare", "train", "evaluate", "register", "predict", "report"]
    assert {step.why for step in steps} == {"never ran"}
    with pytest.raises(RequestError, match="override train.epochs"):
        pipeline.dry_run("digits", {"train.epochs": "x"})
    assert list(project.iterdir()) == []


def git(*arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    return subprocess.run(
        ["git", *identity, *arguments], check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.mark.parametrize("where", ["no git", "git root", "below a git root", "ignored by git"])
def test_dvc_is_set_up_anywhere(project: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    if where != "no git":
        git("init", "-q")
    if where == "ignored by git":
        Path(".gitignore").write_text("/deep/\n")
    if where in ("below a git root", "ignored by git"):
        (project / "deep" / "er").mkdir(parents=True)
        monkeypatch.chdir("deep/er")
    dvc.initialise()
    settings = Path(".dvc/config").read_text()
    assert ("no_scm = True" in settings) == (where in ("no git", "ignored by git"))
    assert "analytics = false" in settings
    assert "reflink,hardlink,symlink,copy" in settings
    before = Path(".dvc/config").stat().st_mtime_ns
    dvc.initialise()
    assert Path(".dvc/config").stat().st_mtime_ns == before
    pipeline.project.write_pipeline()
    pipeline.project.write_entry("a", {"recipe": "a.yaml", "source": "a.yaml", "overrides": {}})
    listed = subprocess.run(
        [sys.executable, "-m", "dvc", "stage", "list"], check=True, capture_output=True, text=True, timeout=60
    ).stdout
    assert [line.split()[0] for line in listed.splitlines()] == [
        f"{name}@a" for name in pipeline.NAMES if name != "tune"
    ], "no search was asked for"


def test_the_git_revision_is_that_of_the_work_tree(project: Path) -> None:
    assert dvc.git_revision() is None
    git("init", "-q")
    assert dvc.git_revision() is None
    Path("a").write_text("1")
    git("add", "a")
    git("commit", "-qm", "one")
    assert dvc.git_revision() == git("rev-parse", "HEAD")
    Path("a").write_text("2")
    assert dvc.git_revision() == git("rev-parse", "HEAD") + "-dirty"


def test_recipes_are_described_and_a_broken_one_says_so(write: Write) -> None:
    write(pipelines__ok_yaml="description: fine\n", pipelines__broken_yaml="a: [\n")
    rows = {name: (text, path) for name, text, path in project.describe_recipes()}
    assert rows["ok"] == ("fine", "pipelines/ok.yaml")
    assert rows["broken"][0].startswith("cannot be read: pipelines/broken.yaml:2")
    assert "built in" in rows["digits"][0]
