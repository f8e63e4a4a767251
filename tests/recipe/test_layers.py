"""Recipe files as layers: extends, overrides, line numbers, and what is wrong with a file itself."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cvflow.errors import RequestError
from cvflow.recipe.layers import load
from cvflow.verbs.show import show_recipe, with_sources

PARENT = """\
    task: classification
    data: {format: digits}
    train:
      epochs: 5
      optimizer: {name: sgd, lr: 0.3, momentum: 0.5}
      augment:
        - {name: random_crop, padding: 3}
        - horizontal_flip
    """


def test_extends_merges_deeply_and_lists_replace(write: Callable[..., Path]) -> None:
    child = write(
        base__parent_yaml=PARENT,
        child_yaml="""\
            extends: base/parent.yaml
            train:
              optimizer: {lr: 0.2}
              augment: [horizontal_flip]
            """,
    )
    data = load(child, {"train.epochs": 2, "seed": 7}).data
    assert data["train"] == {
        "epochs": 2,
        "optimizer": {"name": "sgd", "lr": 0.2, "momentum": 0.5},
        "augment": ["horizontal_flip"],
    }
    assert (data["seed"], data["task"], "extends" in data) == (7, "classification", False)


@pytest.mark.parametrize("text", ["adamw", "{name: adamw}"])
def test_another_component_name_resets_its_options(
    write: Callable[..., Path], resolved: Callable[..., Any], text: str
) -> None:
    child = write(parent_yaml=PARENT, child_yaml=f"extends: parent.yaml\ntrain: {{optimizer: {text}}}\n")
    optimizer = resolved(child).recipe["train"]["optimizer"]
    assert optimizer["name"] == "adamw"
    assert optimizer["lr"] == 1e-3
    assert "momentum" not in optimizer
    assert resolved(child, train__optimizer="sgd").recipe["train"]["optimizer"]["lr"] == 0.1


def test_a_chain_of_three(write: Callable[..., Path]) -> None:
    top = write(
        parent_yaml=PARENT,
        middle_yaml="extends: parent.yaml\nseed: 1\nimage: {channels: 1}\n",
        top_yaml="extends: middle.yaml\nseed: 2\n",
    )
    data = load(top, {}).data
    assert (data["seed"], data["image"], data["train"]["epochs"]) == (2, {"channels": 1}, 5)


def test_a_missing_parent_and_a_cycle_are_named(write: Callable[..., Path]) -> None:
    lost = write(lost_yaml="seed: 1\nextends: gone.yaml\n")
    with pytest.raises(
        RequestError,
        match=r"lost\.yaml:2 extends: got 'gone\.yaml', expected a recipe file; there is no gone\.yaml",
    ):
        load(lost, {})
    first = write(b__second_yaml="extends: ../first.yaml\n", first_yaml="extends: b/second.yaml\n")
    with pytest.raises(RequestError, match=r"second\.yaml:1 extends: got '\.\./first\.yaml'"):
        load(first, {})
    with pytest.raises(RequestError, match="does not extend this one again"):
        load(write(own_yaml="extends: own.yaml\n"), {})


def test_paths_are_relative_to_the_file_they_stand_in(write: Callable[..., Path], project: Path) -> None:
    child = write(
        far__base__parent_yaml="data: {source: photos}\nplugins: [net.py, /opt/net.py]\n",
        near__child_yaml="extends: ../far/base/parent.yaml\nmodel: {weights: ../w.safetensors}\n",
    )
    data = load(child, {}).data
    assert data["data"]["source"] == "far/base/photos"
    assert data["plugins"] == ["far/base/net.py", "/opt/net.py"]
    assert data["model"]["weights"] == "w.safetensors"
    assert load(child, {"data.source": "here"}).data["data"]["source"] == "here"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(
            b"task: classification\ntrain: {epochs: 3\n", r"bad\.yaml:3: got .*, expected YAML", id="syntax"
        ),
        pytest.param(b"task: a\ntrain:\n\tepochs: 3\n", r"bad\.yaml:3: got .*\\t.*, expected YAML", id="tab"),
        pytest.param(
            b"train:\n  epochs: 1\n  epochs: 2\n",
            r"bad\.yaml:3 train\.epochs: got the key twice",
            id="duplicate key",
        ),
        pytest.param(b"- task\n", r"bad\.yaml: got a list, expected a mapping", id="list"),
        pytest.param(b"\xff\xfe\x00", r"bad\.yaml: got bytes that are not text", id="binary"),
        pytest.param(b"a: \x07\n", r"bad\.yaml: got bytes that are not text", id="control character"),
        pytest.param(
            b"task: !!python/object/apply:os.system [ls]\n",
            r"bad\.yaml:1: got .*, expected YAML",
            id="a tag that would run code",
        ),
    ],
)
def test_a_file_that_is_no_recipe(project: Path, content: bytes, message: str) -> None:
    Path("bad.yaml").write_bytes(content)
    with pytest.raises(RequestError) as caught:
        load(Path("bad.yaml"), {})
    assert re.search(message, str(caught.value)), caught.value


def test_an_empty_file_lacks_what_is_required(write: Callable[..., Path], faults: Callable[..., Any]) -> None:
    assert {(f.where.split()[-1], f.got) for f in faults(write(empty_yaml=""))} == {
        ("task", "nothing"),
        ("data", "nothing"),
    }


def sources(path: Path, **overrides: Any) -> dict[str, str]:
    shown = with_sources(
        show_recipe(str(path), {key.replace("__", "."): value for key, value in overrides.items()})
    )
    return {key: source for key, _, source in shown}


def test_sources_say_where_each_value_came_from(write: Callable[..., Path]) -> None:
    child = write(parent_yaml=PARENT, child_yaml="extends: parent.yaml\ntrain:\n  optimizer: {lr: 0.2}\n")
    found = sources(child, train__epochs=2)
    assert found["train.epochs"] == "override"
    assert found["train.optimizer.lr"] == "child.yaml:3"
    assert found["train.optimizer.momentum"] == "parent.yaml:5"
    assert found["train.optimizer.name"] == "parent.yaml:5"
    assert found["train.augment.0.padding"] == "parent.yaml:7"
    assert found["train.augment.1.name"] == "parent.yaml:8"
    assert found["task.name"] == "parent.yaml:1"
    assert found["train.batch_size"] == found["train.schedule.name"] == found["compute.workers"] == "default"
    assert not any(key.startswith("cvflow") for key in found)


def test_sources_of_what_was_replaced(write: Callable[..., Path]) -> None:
    """What a lower layer said of a component or list that is no longer there counts for nothing."""
    child = write(parent_yaml=PARENT, child_yaml="extends: parent.yaml\ntrain:\n  optimizer: adamw\n")
    found = sources(child, train__augment=[{"name": "random_crop"}])
    assert found["train.optimizer.name"] == "child.yaml:3"
    assert found["train.optimizer.lr"] == "default"
    assert found["train.augment.0.name"] == "override"
    assert found["train.augment.0.padding"] == "default"


def test_a_fault_in_an_override_is_the_override_s(
    write: Callable[..., Path], faults: Callable[..., Any]
) -> None:
    path = write(parent_yaml=PARENT)
    (fault,) = faults(path, train__augment=[{"name": "random_crop", "padding": -1}])
    assert fault.where == "override train.augment.0.padding"
    (fault,) = faults(path, train__optimizer={"lr": -1})
    assert fault.where == "override train.optimizer.lr"
