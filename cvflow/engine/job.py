"""One training or evaluation at hand: recipe, task, data, model and what surrounds it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cvflow.config import Recipe
from cvflow.dataset.prepared import PreparedDataset
from cvflow.engine.ema import Average
from cvflow.engine.session import Session
from cvflow.models.weights import load_weights
from cvflow.registry import build
from cvflow.tasks.base import Task
from cvflow.types import DatasetInfo


@dataclass
class Job:
    recipe: Recipe
    task: Task
    dataset: PreparedDataset
    model: nn.Module
    session: Session
    average: Average | None = None

    @property
    def info(self) -> DatasetInfo:
        return self.dataset.info

    def weights(self) -> dict[str, dict[str, Tensor]]:
        """What a checkpoint keeps of the model: ``model``, and ``ema`` where the weights are averaged."""
        averaged = {"ema": self.average.module.state_dict()} if self.average is not None else {}
        return {"model": self.model.state_dict(), **averaged}

    def load(self, tensors: Mapping[str, Mapping[str, Tensor]]) -> None:
        """The inverse of ``weights``."""
        self.model.load_state_dict(tensors["model"])
        if self.average is not None:
            self.average.module.load_state_dict(tensors["ema"])


def make_job(recipe: Recipe, dataset: PreparedDataset, session: Session) -> Job:
    """The task bound to the data, and its model as initialised by the recipe's seed and weights file."""
    if recipe.train.deterministic:
        make_deterministic(recipe.train.compile)
    task = make_task(recipe, dataset.info)
    torch.manual_seed(recipe.seed)
    model = task.build(recipe, dataset.info)
    build("init", recipe.model.init, model)
    if recipe.model.weights is not None:
        load_weights(model, recipe.model.weights)
    model = model.to(session.device)
    if recipe.train.channels_last:
        model = channels_last(model)
    average = Average(model, recipe.train.ema) if recipe.train.ema is not None else None
    return Job(recipe, task, dataset, model, session, average)


def channels_last(model: nn.Module) -> nn.Module:
    """The same model; its parameters of four dimensions, the weights of convolutions over images, lie in the memory order NHWC."""
    for weight in model.parameters():
        if weight.ndim == 4:
            weight.data = weight.data.to(memory_format=torch.channels_last)
    return model


def make_task(recipe: Recipe, info: DatasetInfo) -> Task:
    """The recipe's task, told what the dataset is."""
    task: Task = build("task", recipe.task)
    task.bind(info)
    return task


def make_deterministic(compiled: bool = False) -> None:
    """Only reproducible operations; one that has no such kernel raises. cuBLAS reads its variable when it starts."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if compiled:
        torch.use_deterministic_algorithms(True)
    else:  # the same, but for the compiler, whose import takes a second and more
        torch.set_deterministic_debug_mode("error")
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # would write every new tensor twice
    torch.backends.cudnn.benchmark = False
