"""The checked recipe: every fault at once with its line, formats' and plugins' own faults, and the
answer kept for next time.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from cvflow.errors import Fault, RequestError

Faults = Callable[..., list[Fault]]
Write = Callable[..., Path]
SMALLEST = "task: classification\ndata: {format: digits}\n"
NET = """\
    from torch import Tensor, nn

    from cvflow.models.backbones.base import Backbone
    from cvflow.registry import register


    @register("backbone", "{name}")
    class Net(Backbone):
        strides = (2,)

        def __init__(self, in_channels: int, image_size: tuple[int, int], *, width: int = 4) -> None:
            super().__init__()
            self.channels, self.num_features = (width,), width
            self.layer = nn.Conv2d(in_channels, width, 3, stride=2, padding=1)

        def forward(self, x_BCHW: Tensor) -> list[Tensor]:
            return [self.layer(x_BCHW)]
    """


def test_the_resolved_recipe_resolves_to_itself(
    project: Path, resolved: Callable[..., Any], repository: Path
) -> None:
    first = resolved(repository / "pipelines" / "digits.yaml").recipe
    Path("again.yaml").write_text(yaml.safe_dump({k: v for k, v in first.items() if k != "cvflow"}))
    assert resolved(Path("again.yaml")).recipe == first
    given = {"name": "sgd", "lr": 0.05, "momentum": 0.9, "weight_decay": 0.0005}
    assert first["train"]["optimizer"] == {**given, "nesterov": False, "decay": "all"}
    assert first["cvflow"]["behaviour"].keys() == {
        "prepare",
        "train",
        "evaluate",
        "register",
        "predict",
        "report",
        "tune",
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(
            "trian: {epochs: 3}",
            "r.yaml:3 trian: got the unknown key 'trian', expected one of .* Did you mean 'train'",
            id="section",
        ),
        pytest.param(
            "train: {epoch: 3}",
            "r.yaml:3 train.epoch: got the unknown key 'epoch', .* Did you mean 'epochs'",
            id="key",
        ),
        pytest.param(
            "train: {epochs: many}", "r.yaml:3 train.epochs: got 'many', expected a valid integer", id="type"
        ),
        pytest.param(
            "regster: {model: a}",
            "r.yaml:3 regster: .* Did you mean 'register'",
            id="a section that Python names otherwise",
        ),
        pytest.param(
            "register: {modle: a}",
            "expected one of model, .* Did you mean 'model'",
            id="a key of that section",
        ),
        pytest.param(
            "train: {optimizer: {lr: .inf}}",
            "r.yaml:3 train.optimizer.lr: got inf, expected a finite number",
            id="infinite",
        ),
        pytest.param(
            "train: {epochs: -1}",
            "r.yaml:3 train.epochs: got -1, expected greater than or equal to 0",
            id="range",
        ),
        pytest.param(
            "model: clasifier",
            "r.yaml:3 model.name: got 'clasifier', expected a model: .* Did you mean 'classifier'",
            id="model",
        ),
        pytest.param(
            "model: {backbone: lenett}",
            "r.yaml:3 model.backbone.name: got 'lenett', .* Did you mean 'lenet'",
            id="backbone",
        ),
        pytest.param(
            "model: {dropuot: 0.5}",
            "r.yaml:3 model.dropuot: got the unknown key .* Did you mean 'dropout'",
            id="model's option",
        ),
        pytest.param(
            "model:\n  backbone: {name: lenet, depth: 20}",
            "r.yaml:4 model.backbone.depth: got the unknown key 'depth'",
            id="builder's option",
        ),
        pytest.param(
            "model: {weights: lost.safetensors}",
            "r.yaml:3 model.weights: got 'lost.safetensors', expected a file",
            id="weights",
        ),
        pytest.param(
            "model: {weights: .}",
            r"r.yaml:3 model.weights: got '\.', expected a file that exists",
            id="a folder as weights",
        ),
        pytest.param(
            "train:\n  phases:\n    - {freeze: 3}",
            "r.yaml:5 train.phases.0.freeze: got 3, expected a valid string",
            id="phase",
        ),
        pytest.param(
            "train:\n  phases: [{}, {optimizer: {name: adamw, momentum: 0.9}}]",
            "r.yaml:4 train.phases.1.optimizer.momentum: got the unknown key 'momentum'",
            id="phase's option",
        ),
        pytest.param(
            "plugins: net.py", r"r.yaml:3 plugins: got '?.?net.py'?, expected a", id="plugins are a list"
        ),
        pytest.param("plugins: [3]", "r.yaml:3 plugins.0: got 3, expected", id="a plugin is a path"),
        pytest.param(
            "plugins: [net.py]",
            "r.yaml:3 plugins: got 'net.py', expected a Python file",
            id="a plugin that is not there",
        ),
        pytest.param(
            "compute: {workers: 3}\ntrain: {batch_size: 2}", "batches of 2, expected .* each of 3", id="batch"
        ),
        pytest.param(
            "register: {promote: {metric: f2}}",
            "got 'f2', .* Type register.promote.metric=accuracy",
            id="metric",
        ),
        pytest.param("compute: {workers: -2}", "r.yaml:3 compute.workers: got -2", id="workers"),
    ],
)
def test_wrong_recipes(write: Write, faults: Faults, text: str, message: str) -> None:
    found = faults(write(r_yaml=f"{SMALLEST}{text}\n"))
    assert len(found) == 1, found
    with pytest.raises(RequestError, match=message):
        raise RequestError(*found)


@pytest.mark.parametrize(
    "optimizer", ["optimizer: lbfgs", "phases: [{}, {optimizer: lbfgs}]"], ids=["all", "one phase"]
)
def test_what_a_closure_would_pass_over_is_refused(
    write: Write, faults: Faults, optimizer: str, resolved: Callable[..., Any]
) -> None:
    path = write(
        r_yaml=f"{SMALLEST}train: {{{optimizer}, clip_norm: 1, not_finite: skip, precision: fp16}}\n"
    )
    assert {fault.where for fault in faults(path)} == {
        f"r.yaml:3 train.{key}" for key in ("clip_norm", "not_finite", "precision")
    }
    assert resolved(write(r_yaml=f"{SMALLEST}train: {{{optimizer}, precision: bf16}}\n"))
    assert resolved(write(r_yaml=f"{SMALLEST}train: {{clip_norm: 1, not_finite: skip, precision: fp16}}\n"))


def test_all_faults_at_once(write: Write, faults: Faults) -> None:
    """Of the typed recipe, of the components, of files, in one go; a wrong list hides nothing else."""
    path = write(
        broken_py="import surely_not_there",
        r_yaml="""\
            task: clasification
            data: {format: image_folder, source: lost}
            model: {backbone: {name: lenet, depth: 3}}
            train:
              epochs: many
              augment: [{padding: 2}, random_crop]
            plugins: [broken.py]
            colour: red
            """,
    )
    found = {fault.where: fault for fault in faults(path, seed="x")}
    assert set(found) == {
        "r.yaml:1 task.name",
        "r.yaml:2 data.source",
        "r.yaml:3 model.backbone.depth",
        "r.yaml:5 train.epochs",
        "r.yaml:6 train.augment.0.name",
        "r.yaml:7 plugins",
        "r.yaml:8 colour",
        "override seed",
    }
    assert "surely_not_there" in found["r.yaml:7 plugins"].got
    assert "broken.py" in found["r.yaml:7 plugins"].expected


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ({}, "r.yaml:2 data.source raw: got no images in class folders, expected <class>/<image file>"),
        ({"one": 2}, "r.yaml:2 data.source raw: got one class: 'one', expected at least two class folders"),
        (
            {"train/a": 1, "train/b": 1, "test/c": 1},
            "r.yaml:2 data.source raw/test/c: got class 'c', not in train, expected one of a, b",
        ),
    ],
    ids=["empty", "one class", "a class only in test"],
)
def test_what_a_format_objects_to(
    write: Write, folder: Callable[..., Path], faults: Faults, classes: dict[str, int], message: str
) -> None:
    folder("raw", classes)
    (fault,) = faults(write(r_yaml="task: classification\ndata: {format: image_folder, source: raw}\n"))
    assert message in str(fault)


def test_a_source_that_is_missing_or_not_wanted(
    write: Write, folder: Callable[..., Path], faults: Faults
) -> None:
    missing = write(r_yaml="task: classification\ndata:\n  format: image_folder\n  source: lost\n")
    assert [str(f) for f in faults(missing)] == [
        "r.yaml:4 data.source: got 'lost', expected a file or folder "
        "that exists. Paths are relative to the recipe file. "
        "Type data.source=PATH."
    ]
    (fault,) = faults(write(r_yaml="task: classification\ndata: {format: image_folder}\n"))
    assert (fault.where, fault.got) == ("r.yaml:2 data.source", "nothing")
    folder("raw", {"a": 1, "b": 1})
    (fault,) = faults(write(r_yaml=SMALLEST), data__source="raw")
    assert (fault.where, fault.expected) == ("override data.source", "no source: the digits are built in")


def test_a_format_s_fault_comes_with_the_others(
    write: Write, folder: Callable[..., Path], faults: Faults
) -> None:
    folder("raw", {"one": 2})
    found = faults(write(r_yaml="task: classification\ndata: {format: image_folder, source: raw}\nseed: x\n"))
    assert [f.where for f in found] == ["r.yaml:3 seed", "r.yaml:2 data.source raw"]


def test_a_user_s_own_format_may_fail_in_any_way(
    write: Write, folder: Callable[..., Path], faults: Faults
) -> None:
    folder("raw", {"a": 1})
    path = write(
        fmt_py="""\
            from pathlib import Path

            from cvflow.registry import register


            @register("format", "resolve_test_table")
            def table(source: Path):
                return (source / "labels.csv").read_text()
            """,
        r_yaml="task: classification\nplugins: [fmt.py]\ndata: {format: resolve_test_table, source: raw}\n",
    )
    (fault,) = faults(path)
    assert fault.where == "r.yaml:3 data.source"
    assert "FileNotFoundError" in fault.got
    assert fault.expected == "what the format 'resolve_test_table' reads"
