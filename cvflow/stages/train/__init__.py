"""train: the prepared dataset in, a model out; resumed where it was broken off."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

from torch import Tensor

from cvflow.answers.base import is_loss
from cvflow.config import Recipe
from cvflow.dataset.prepared import PreparedDataset
from cvflow.engine.checkpoint import CheckpointStore
from cvflow.engine.export import write_model
from cvflow.engine.job import make_task, measured_weights
from cvflow.engine.loop import train as train_loop
from cvflow.engine.session import Session
from cvflow.errors import CvflowError, RequestError
from cvflow.models.weights import load_weights
from cvflow.project.graph import STATE, Run
from cvflow.project.project import locked
from cvflow.recipe.check import worker_faults
from cvflow.runtime.launch import launch
from cvflow.stages.register.promotion import promotion_objective
from cvflow.stages.train.mlflow_run import tracked


def train(run: Run) -> None:
    """Write ``runs/<name>/model`` and ``history.jsonl``; checkpoints live in ``.cvflow/train/<fingerprint>`` until then."""
    dataset = PreparedDataset(run.path("data"))
    check_later_stages(run, dataset)
    check_workers(run.recipe, dataset)
    digest = dataset.digest
    fingerprint = run.fingerprint("train", digest)
    state = (run.recipe.compute.storage or STATE).absolute() / "train" / fingerprint
    with locked(
        f"train-{fingerprint}", f"training run {run.name}"
    ):  # another run of the same training waits, and then trains for itself
        train_in(state, run, dataset, fingerprint, digest)


def train_in(state: Path, run: Run, dataset: PreparedDataset, fingerprint: str, digest: str) -> None:
    """Train with checkpoints in ``state``, which goes once the model is written."""
    store, history = CheckpointStore(state / "checkpoints"), state / "history.jsonl"
    resumed = store.latest()
    for name in store.damaged():
        used = f"step {resumed.state['step']}" if resumed is not None else "the start"
        sys.stderr.write(f"checkpoint {name} is damaged: going on from {used}\n")
    if resumed is not None and resumed.state["step"]:
        sys.stderr.write(
            f"resuming after epoch {resumed.state['epochs_done']} (step {resumed.state['step']})\n"
        )
    elif run.recipe.model.weights is not None:
        sys.stderr.write(
            f"{load_weights(make_task(run.recipe, dataset.info).build(run.recipe, dataset.info), run.recipe.model.weights)}\n"
        )
    with tracked(run, fingerprint, digest, history):
        launch(
            train_worker, run.recipe.compute, store.root, history,
            recipe=as_shipped(run.recipe), dataset=str(dataset.path.absolute()),
        )  # fmt: skip
    write_model(
        run.path("model"), exported(store, run.recipe), run.portable, dataset.info, fingerprint, digest
    )
    history.touch()
    shutil.copyfile(history, run.path("history.jsonl"))
    shutil.rmtree(state)


def check_later_stages(run: Run, dataset: PreparedDataset) -> None:
    """What evaluate, register and predict will ask for must be there before hours are spent. Raises RequestError."""
    for split in (run.recipe.evaluate.split, run.recipe.predict.split):
        dataset.split(split)
    task = make_task(run.recipe, dataset.info)
    metric = run.recipe.register_.promote.metric
    names = {*task.answer.figures, *([metric] if metric and is_loss(metric) else [])}
    promotion_objective(run.recipe, task, names)


def check_workers(recipe: Recipe, dataset: PreparedDataset) -> None:
    """Each of the most workers there may be needs a sample of every batch. Raises RequestError."""
    if faults := worker_faults(recipe, dataset.info.counts["train"]):
        raise RequestError(*faults)


def as_shipped(recipe: Recipe) -> dict[str, Any]:
    """The recipe as plain data, its weights file by absolute path: workers run in directories of their own."""
    data = recipe.model_dump(mode="json", by_alias=True)
    if recipe.model.weights is not None:
        data["model"]["weights"] = str(recipe.model.weights.absolute())
    return data


def train_worker(session: Session, recipe: dict[str, Any], dataset: str) -> None:
    """On each rank: train to the end of the recipe's plan."""
    train_loop(Recipe.model_validate(recipe), PreparedDataset(Path(dataset)), session)


def exported(store: CheckpointStore, recipe: Recipe) -> dict[str, Tensor]:
    """The weights that become the model: the average's, where there is one."""
    checkpoint = store.best() if recipe.train.keep == "best" else store.latest()
    if checkpoint is None:
        raise CvflowError(f"{store.root}: no whole checkpoint was written")
    return measured_weights(checkpoint.tensors)
