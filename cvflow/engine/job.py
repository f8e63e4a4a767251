"""One training or evaluation at hand: recipe, task, data, model and what surrounds it."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch
from torch import nn

from cvflow.config import Recipe
from cvflow.data.dataset import PreparedDataset
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

    @property
    def info(self) -> DatasetInfo:
        return self.dataset.info


def make_job(recipe: Recipe, dataset: PreparedDataset, session: Session) -> Job:
    """The task bound to the data, and its model as initialised by the recipe's seed and weights file."""
    if recipe.train.deterministic:
        make_deterministic()
    task = make_task(recipe, dataset.info)
    torch.manual_seed(recipe.seed)
    model = task.build(recipe, dataset.info)
    if recipe.model.weights is not None:
        load_weights(model, recipe.model.weights)
    return Job(recipe, task, dataset, model.to(session.device), session)


def make_task(recipe: Recipe, info: DatasetInfo) -> Task:
    """The recipe's task, told what the dataset is."""
    task: Task = build("task", recipe.task)
    task.bind(info)
    return task


def make_deterministic() -> None:
    """Only reproducible operations; one that has no such kernel raises. cuBLAS reads its variable when it starts."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=False)
    torch.backends.cudnn.benchmark = False
