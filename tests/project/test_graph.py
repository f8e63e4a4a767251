"""What a stage depends on: one description for dvc.yaml, for fingerprints and for missing inputs."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from cvflow.config import Recipe
from cvflow.errors import RequestError
from cvflow.project.graph import BY_NAME, NAMES, STAGES, Run, dvc_yaml, lookup

RESOLVED = {
    **Recipe.model_validate({"task": "classification", "data": {"format": "digits"}}).model_dump(
        mode="json", by_alias=True
    ),
    "cvflow": {
        "version": "0",
        "behaviour": {stage.name: 1 for stage in STAGES},
        "plugins": {"a.py": "1"},
        "weights": None,
    },
}


def test_dvc_yaml_has_every_stage_with_its_keys_and_files() -> None:
    stages = yaml.safe_load(dvc_yaml())["stages"]
    assert list(stages) == list(NAMES)
    assert {stage["foreach"] for name, stage in stages.items() if name != "tune"} == {"${runs}"}
    assert stages["tune"]["foreach"] == "${searches}"
    train = stages["train"]["do"]
    assert train["deps"] == ["runs/${key}/data"]
    (keys,) = train["params"][0].values()
    assert {"train", "model", "seed", "cvflow.behaviour.train", "cvflow.plugins"} <= set(keys)
    assert stages["prepare"]["do"]["deps"] == ["${item.source}"]
    assert stages["resolve"]["do"]["outs"] == [{"runs/${key}/recipe.yaml": {"cache": False}}]


def test_where_it_runs_and_what_is_logged_is_in_no_stage_s_keys() -> None:
    assert not {key.split(".")[0] for stage in STAGES for key in stage.keys} & {
        "compute",
        "tracking",
        "plugins",
    }


def test_every_key_exists_in_a_resolved_recipe() -> None:
    for stage in STAGES:
        for key in stage.keys:
            lookup(RESOLVED, key)
    with pytest.raises(KeyError):
        lookup(RESOLVED, "train.nothing")


def written(name: str, **changes: object) -> Run:
    run = Run(name)
    run.root.mkdir(parents=True, exist_ok=True)
    run.path("recipe.yaml").write_text(yaml.safe_dump(RESOLVED | changes))
    return run


def test_a_fingerprint_follows_what_the_stage_reads_and_nothing_else(project: Path) -> None:
    base = written("a").fingerprint("train", "d1")
    assert len(base) == 32
    assert written("b").fingerprint("train", "d1") == base, "the run's name is in no fingerprint"
    assert written("c", compute={"workers": 8}, evaluate={"split": "val"}).fingerprint("train", "d1") == base
    others = [
        written("a").fingerprint("train", "d2"),
        written("a").fingerprint("evaluate", "d1"),
        written("d", seed=1).fingerprint("train", "d1"),
        written("e", cvflow=RESOLVED["cvflow"] | {"plugins": {"a.py": "2"}}).fingerprint("train", "d1"),
        written("f", cvflow=RESOLVED["cvflow"] | {"behaviour": {"train": 2}}).fingerprint("train", "d1"),
    ]
    assert len({base, *others}) == 6


@pytest.mark.parametrize("stage", ["train", "evaluate", "register", "predict", "report"])
def test_a_missing_input_names_the_stage_that_makes_it(project: Path, stage: str) -> None:
    with pytest.raises(
        RequestError,
        match=f"got nothing, expected what {stage} reads. Type 'cvflow stage prepare a'|cvflow stage train a",
    ):
        Run("a").needs(stage)
    for dep in BY_NAME[stage].deps:
        Run("a").path(dep).mkdir(parents=True)
    Run("a").needs(stage)


def test_a_run_without_its_resolved_recipe(project: Path) -> None:
    with pytest.raises(RequestError, match="Type 'cvflow stage resolve a'"):
        Run("a").recipe  # noqa: B018
