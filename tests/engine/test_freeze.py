"""Freezing by a part's name: what learns, what keeps its averages, what is refused."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from cvflow.config import Image, Phase
from cvflow.engine.freeze import check_freezes, set_mode, trainable
from cvflow.errors import RequestError
from cvflow.models.classifier import Classifier
from cvflow.registry import Component
from cvflow.types import DatasetInfo

INFO = DatasetInfo("t", ("a", "b"), {"train": 2}, (0.5,), (0.2,), "0")


@pytest.fixture
def model() -> Classifier:
    return Classifier(Image(size=(8, 8)), INFO, backbone=Component(name="cifar_resnet"), dropout=0.5)


def phase(freeze: str) -> Phase:
    return Phase(freeze=freeze)


def learning(model: nn.Module, freeze: str) -> set[str]:
    """The parts, one level below the backbone, that have trained parameters."""
    kept = {id(p) for p in trainable(model, phase(freeze))}
    assert kept == {id(p) for p in model.parameters() if p.requires_grad}
    return {
        name.removeprefix("backbone.").partition(".")[0]
        for name, p in model.named_parameters()
        if id(p) in kept
    }


def test_everything_up_to_the_part_is_frozen(model: Classifier) -> None:
    assert learning(model, "none") == {"conv1", "bn1", "layer1", "layer2", "layer3", "head"}
    assert learning(model, "backbone.layer1") == {"layer2", "layer3", "head"}
    assert learning(model, "backbone.layer3") == learning(model, "backbone") == {"head"}
    assert learning(model, "backbone.conv1") == {"bn1", "layer1", "layer2", "layer3", "head"}
    assert learning(model, "none") == {"conv1", "bn1", "layer1", "layer2", "layer3", "head"}, (
        "a later phase thaws"
    )


def test_a_part_within_a_part(model: Classifier) -> None:
    assert learning(model, "backbone.layer2.0") == {"layer2", "layer3", "head"}
    names = {n for n, p in model.named_parameters() if p.requires_grad and "layer2" in n}
    assert names
    assert all(name.startswith(("backbone.layer2.1.", "backbone.layer2.2.")) for name in names)


def test_frozen_parts_keep_their_averages(model: Classifier) -> None:
    before = {name: value.clone() for name, value in model.named_buffers()}
    set_mode(model, phase("backbone.layer1"))
    assert model.head.training
    model(torch.randint(256, (4, 3, 8, 8), dtype=torch.uint8))
    changed = {
        name.split(".")[1] for name, value in model.named_buffers() if not torch.equal(value, before[name])
    }
    assert changed == {"layer2", "layer3"}
    set_mode(model, phase("none"))
    assert model.backbone.conv1.training


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("neck", "got 'neck', expected none, or a part of Classifier: one of backbone, head"),
        ("backbon", "Did you mean 'backbone'"),
        ("layer2", r"Did you mean 'backbone\.layer2'"),
        (
            "backbone.layer4",
            r"one of backbone\.bn1, backbone\.conv1, .*backbone\.layer3\. Did you mean 'backbone\.layer",
        ),
        ("head", "got 'head', after which nothing is trained"),
        ("dropout", "got 'dropout', expected none, or a part"),
        ("backbone.", "expected none, or a part"),
    ],
)
def test_what_cannot_be_frozen_is_named(model: Classifier, name: str, said: str) -> None:
    with pytest.raises(RequestError, match=said):
        check_freezes(model, [phase("backbone"), phase(name)])


def test_all_wrong_phases_are_named_at_once_and_the_model_is_left_whole(model: Classifier) -> None:
    with pytest.raises(RequestError) as caught:
        check_freezes(model, [phase("nekc"), phase("layer9"), phase("nekc")])
    assert len(caught.value.faults) == 2
    check_freezes(model, [phase("backbone"), phase("none")])
    assert all(p.requires_grad for p in model.parameters())
