"""One descent finds, checks and fills in every component: in sections, phases, lists, and models
inside of options.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from cvflow.errors import Fault, RequestError
from cvflow.project.resolved import resolve_layers
from cvflow.recipe.layers import load

HEADS = '''\
    """A backbone whose option is a list of heads, each with a component of its own."""

    from typing import Annotated

    from pydantic import BaseModel

    from cvflow.models.backbones.lenet import LeNet
    from cvflow.registry import Component, Kind, register


    class Head(BaseModel):
        name: str
        schedule: Annotated[Component, Kind("schedule")] = Component(name="cosine")


    @register("backbone", "headed")
    def headed(in_channels: int, image_size: tuple[int, int], *, heads: tuple[Head, ...] = ()):
        return LeNet(in_channels, image_size)
    '''


def test_components_in_models_in_lists_are_filled_in(write: Callable[..., Path]) -> None:
    write(
        heads_py=HEADS,
        r_yaml="""\
            task: classification
            plugins: [heads.py]
            data: {format: digits}
            model: {backbone: {name: headed, heads: [{name: a}, {name: b, schedule: step}]}}
            """,
    )
    recipe = resolve_layers(load(Path("r.yaml"), {})).recipe
    heads = recipe["model"]["backbone"]["heads"]
    assert heads[0]["schedule"] == {"name": "cosine", "final": 0.0}
    assert heads[1]["schedule"] == {"name": "step", "milestones": [0.5, 0.75], "gamma": 0.1}


def test_faults_in_models_in_lists_carry_their_whole_path(write: Callable[..., Path]) -> None:
    write(
        heads_py=HEADS,
        r_yaml="""\
            task: classification
            plugins: [heads.py]
            data: {format: digits}
            model: {backbone: {name: headed, heads: [{name: a, schedule: {name: step, evry: 3}}]}}
            """,
    )
    with pytest.raises(RequestError) as caught:
        resolve_layers(load(Path("r.yaml"), {}))
    (fault,) = caught.value.faults
    assert "model.backbone.heads.0.schedule.evry" in fault.where


def test_what_a_phase_names_is_filled_in_there(write: Callable[..., Path]) -> None:
    path = write(
        r_yaml="""\
            task: classification
            data: {format: digits}
            model: {backbone: lenet}
            train:
              optimizer: {name: sgd, momentum: 0.9}
              phases: [{epochs: 1, optimizer: {lr: 0.5}}, {kind: fit}]
            """
    )
    recipe = resolve_layers(load(path, {})).recipe
    first, second = recipe["train"]["phases"]
    assert first["optimizer"] | {"lr": 0.5, "momentum": 0.9, "nesterov": False} == first["optimizer"]
    assert first["epochs"] == 1
    assert "schedule" not in first, "what a phase does not name stays where the recipe names it"
    assert second["kind"] == {"name": "fit", "estimator": "linear", "c": 1.0}
    Path("again.yaml").write_text(yaml.safe_dump({k: v for k, v in recipe.items() if k != "cvflow"}))
    assert resolve_layers(load(Path("again.yaml"), {})).recipe == recipe


def test_faults_of_every_rule_come_at_once(
    write: Callable[..., Path], faults: Callable[..., list[Fault]]
) -> None:
    path = write(
        r_yaml="""\
            task: classification
            data: {format: image_folder, source: nowhere}
            model: {backbone: {name: lenet, wdth: 3}, weights: none.safetensors}
            train: {batch_size: 2, phases: [{optimizer: {name: sgd, lrr: 1}}]}
            compute: {workers: 4}
            register: {promote: {metric: acuracy}}
            """
    )
    where: list[Any] = [fault.where.split(" ")[-1] for fault in faults(path)]
    assert where == [
        "model.backbone.wdth",
        "train.phases.0.optimizer.lrr",
        "train.batch_size",
        "register.promote.metric",
        "data.source",
        "model.weights",
    ]
