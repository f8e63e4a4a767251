"""A training or evaluation: its recipe, task, data, model and session."""

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
    """All that a training or evaluation works on.

    average: the running average of the model's weights, if the recipe asks for one (``train.ema``).
    Only the methods here look at it; everything else asks for ``modules`` and ``measured``.
    """

    recipe: Recipe
    task: Task
    dataset: PreparedDataset
    model: nn.Module
    session: Session
    average: Average | None = None

    @property
    def info(self) -> DatasetInfo:
        """What the prepared dataset says of itself."""
        return self.dataset.info

    @property
    def modules(self) -> dict[str, nn.Module]:
        """The model that is trained as ``model``, and as ``ema`` its average, if there is one."""
        modules = {"model": self.model}
        if self.average is not None:
            modules["ema"] = self.average.module
        return modules

    @property
    def measured(self) -> nn.Module:
        """The model that is measured and exported: the average if there is one."""
        return self.modules.get("ema", self.model)

    def update_average(self, step: int) -> None:
        """Take the weights after an optimiser step into the average, if there is one."""
        if self.average is not None:
            self.average.update(self.model, step)

    def weights(self) -> dict[str, dict[str, Tensor]]:
        """Return the tensors that a checkpoint keeps, by the names of ``modules``."""
        return {name: module.state_dict() for name, module in self.modules.items()}

    def load(self, tensors: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Load the tensors that ``weights`` returned."""
        for name, module in self.modules.items():
            module.load_state_dict(tensors[name])


def measured_weights(tensors: Mapping[str, dict[str, Tensor]]) -> dict[str, Tensor]:
    """Return the weights of ``Job.measured`` among the tensors of a checkpoint."""
    return tensors.get("ema", tensors["model"])


def make_job(recipe: Recipe, dataset: PreparedDataset, session: Session) -> Job:
    """Bind the task to the data, and build its model from the recipe's seed and weights file."""
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
    """Lay the weights of convolutions over images out in the order NHWC, and return the model."""
    for weight in model.parameters():
        if weight.ndim == 4:
            weight.data = weight.data.to(memory_format=torch.channels_last)
    return model


def make_task(recipe: Recipe, info: DatasetInfo) -> Task:
    """Make the recipe's task and bind it to the dataset."""
    task: Task = build("task", recipe.task)
    task.bind(info)
    return task


def make_deterministic(compiled: bool = False) -> None:
    """Allow only reproducible operations; one that has no such kernel raises an error."""
    # cuBLAS reads its variable when it starts
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if compiled:
        torch.use_deterministic_algorithms(True)
    else:
        # the same except for the compiler, whose import takes more than a second
        torch.set_deterministic_debug_mode("error")
    # filling would write every new tensor twice
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
