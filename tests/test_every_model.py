"""Every registered task, model and backbone: forward, losses, backward and decode on a tiny input.

New ones come in by themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
import torch

from cvflow import registry
from cvflow.annotations import disparity, flow, mask
from cvflow.annotations.image import encode_png
from cvflow.answers.base import objective_of
from cvflow.config import Recipe
from cvflow.engine.export import TrainedModel
from cvflow.engine.infer import Predictor, noise
from cvflow.engine.onnx import gap
from cvflow.errors import RequestError
from cvflow.models.fold import NORMS
from cvflow.registry import Kind
from cvflow.tasks.base import Task
from cvflow.types import Batch, DatasetInfo, Row
from tests.fixtures.tasks import losses_of, raw_of, truths_of

SIDE, CLASSES = 64, ("a", "b", "c")
ANNOTATIONS: Mapping[str, list[dict[str, Any]]] = {
    "classification": [{"label": 0}, {"label": 2}],
    "stereo": [{"disparity": disparity.encode(np.full((SIDE, SIDE), 3.0, np.float32))}] * 2,
    "flow": [{"flow": flow.encode(np.full((SIDE, SIDE, 2), 2.0, np.float32))}] * 2,
    "embedding": [{"identity": 0}, {"identity": 0}, {"identity": 2}, {"identity": 2}],
    "localization": [{"label": 0, "box": [8, 10, 40, 50]}, {"label": 2, "box": [0, 20, 64, 44]}],
    "segmentation": [{"mask": mask.encode(np.arange(SIDE**2).reshape(SIDE, SIDE) % 3)}] * 2,
}
"""A few rows' annotations for each task."""
REFUSED = {("fcn", "lenet"), ("fcn", "mlp"), ("unet", "mlp")}
"""Models that need more levels than a backbone has, and say so: see test_segmentation."""


def tiny_rows(name: str, task: Task) -> list[Row]:
    noise = np.random.default_rng(0).integers(0, 256, (len(ANNOTATIONS[name]), SIDE, SIDE, 3), dtype=np.uint8)
    return [
        {
            "id": str(i),
            "path": f"{i}.png",
            **{image: encode_png(noise[i]) for image in task.schema.images},
            **annotation,
        }
        for i, annotation in enumerate(ANNOTATIONS[name])
    ]


def tiny(model: Mapping[str, Any], task: str) -> tuple[Recipe, DatasetInfo]:
    """The smallest recipe that trains the model."""
    recipe = Recipe.model_validate(
        {"task": task, "data": {"format": "digits"}, "image": {"size": (SIDE, SIDE)}, "model": model}
    )
    info = DatasetInfo(task, CLASSES, {"train": 2}, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), "0" * 32)
    return recipe, info


def takes_backbone(model: str) -> bool:
    fields = registry.options_model(registry.get("model", model)).model_fields.values()
    return any(isinstance(m, Kind) and m.kind == "backbone" for field in fields for m in field.metadata)


def all_models() -> Iterator[Any]:
    """Each model as it is by default, and each that takes a backbone with every backbone."""
    for name in registry.names("model"):
        yield pytest.param({"name": name}, id=name)
        if takes_backbone(name):
            backbones = [b for b in registry.names("backbone") if (name, b) not in REFUSED]
            yield from (pytest.param({"name": name, "backbone": b}, id=f"{name}-{b}") for b in backbones)


def build(model: Mapping[str, Any]) -> tuple[str, Task, torch.nn.Module]:
    """The model by the first task that can build it; classification, which takes any network, comes last."""
    refusals = []
    for name in sorted(ANNOTATIONS, key=lambda name: name == "classification"):
        recipe, info = tiny(model, name)
        task: Task = registry.build("task", recipe.task)
        task.bind(info)
        try:
            return name, task, task.build(recipe, info)
        except (RequestError, TypeError) as error:
            refusals.append(f"{name}: {error}")
    raise AssertionError(f"no task builds {model}:\n" + "\n".join(refusals))


@pytest.mark.parametrize("model", list(all_models()))
def test_forward_losses_backward_decode(model: Mapping[str, Any]) -> None:
    torch.manual_seed(0)
    name, task, net = build(model)
    recipe, info = tiny(model, name)
    fit = task.transforms(recipe, "test")
    rows = list(tiny_rows(name, task))
    samples = [sample for row in rows for sample in task.samples(row)]
    batch = task.collate([fit(sample) for sample in samples])

    losses = losses_of(task, net, batch)
    total = torch.stack([loss.sum / loss.count for loss in losses.values()]).sum()
    total.backward()
    assert torch.isfinite(total)
    assert all(loss.count > 0 for loss in losses.values())
    # DDP waits for ever for a parameter that takes no part in the loss.
    assert [
        key
        for key, p in net.named_parameters()
        if p.requires_grad and (p.grad is None or not torch.isfinite(p.grad).all())
    ] == []

    net.eval()
    with torch.no_grad():
        answers = task.decode(task.raw(task.outputs(net, batch), batch), batch)
    assert [answer.id for answer in answers] == batch.ids
    metric = task.answer.metric(info)
    metric.update(answers, truths_of(task, rows))
    assert np.isfinite(metric.compute()[objective_of(task.answer).metric])


@pytest.mark.parametrize("model", list(all_models()))
def test_a_predictor_folds_the_norms_and_answers_the_same_in_the_other_memory_order(
    model: Mapping[str, Any],
) -> None:
    torch.manual_seed(0)
    name, task, net = build(model)
    recipe, info = tiny(model, name)
    recipe = recipe.model_copy(update={"train": recipe.train.model_copy(update={"channels_last": True})})
    predictor = Predictor(TrainedModel(recipe, task, info, net.eval(), "", ""), torch.device("cpu"))
    images = {image: noise(recipe.image, 2, seed=7) for image in task.schema.images}
    batch = Batch(["a", "b"], images)
    with torch.no_grad():
        expected, got = (
            task.raw(task.outputs(net, batch), batch),
            raw_of(task, predictor.model, batch.to(torch.device("cpu"), channels_last=True)),
        )
    for key, answer in expected.items():
        assert gap(got[key].numpy(), answer.numpy()) < 1e-3
    assert [part for part in predictor.model.modules() if type(part) in NORMS] == []


def test_every_task_is_tried() -> None:
    assert set(ANNOTATIONS) == set(registry.names("task")), "give ANNOTATIONS two rows for the new task"
