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
    """Write ``runs/<name>/model`` and ``history.jsonl``.

    Until then checkpoints are in ``.cvflow/train/<fingerprint>``.
    """
    recipe = run.recipe
    dataset = PreparedDataset(run.path("data"))
    check_later_stages(recipe, dataset)
    check_workers(recipe, dataset)
    digest = dataset.digest
    fingerprint = run.fingerprint("train", digest)
    storage = recipe.compute.storage or STATE
    state = storage.absolute() / "train" / fingerprint
    # another run of the same training waits, and then trains for itself
    with locked(f"train-{fingerprint}", f"training run {run.name}"):
        train_in(state, run, dataset, fingerprint, digest)


def train_in(state: Path, run: Run, dataset: PreparedDataset, fingerprint: str, digest: str) -> None:
    """Train with checkpoints in ``state``, which is removed once the model is written."""
    store = CheckpointStore(state / "checkpoints")
    history = state / "history.jsonl"
    announce_start(run.recipe, dataset, store)
    with tracked(run, fingerprint, digest, history):
        launch(
            train_worker,
            run.recipe.compute,
            store.root,
            history,
            recipe=as_shipped(run.recipe),
            dataset=str(dataset.path.absolute()),
        )
    weights = exported(store, run.recipe)
    write_model(run.path("model"), weights, run.portable, dataset.info, fingerprint, digest)
    # a training without a step has reported nothing
    history.touch()
    shutil.copyfile(history, run.path("history.jsonl"))
    shutil.rmtree(state)


def announce_start(recipe: Recipe, dataset: PreparedDataset, store: CheckpointStore) -> None:
    """Tell the user from which checkpoint or weights file the training starts."""
    resumed = store.latest()
    for name in store.damaged():
        start = "the start" if resumed is None else f"step {resumed.state['step']}"
        sys.stderr.write(f"checkpoint {name} is damaged: going on from {start}\n")
    if resumed is not None and resumed.state["step"]:
        epoch, step = resumed.state["epochs_done"], resumed.state["step"]
        sys.stderr.write(f"resuming after epoch {epoch} (step {step})\n")
    elif recipe.model.weights is not None:
        # loaded here only for the message: it names the layers that start anew
        model = make_task(recipe, dataset.info).build(recipe, dataset.info)
        sys.stderr.write(f"{load_weights(model, recipe.model.weights)}\n")


def check_later_stages(recipe: Recipe, dataset: PreparedDataset) -> None:
    """Raise RequestError if evaluate, register or predict will lack something: before hours are spent."""
    for split in (recipe.evaluate.split, recipe.predict.split):
        dataset.split(split)
    task = make_task(recipe, dataset.info)
    names = set(task.answer.figures)
    metric = recipe.register_.promote.metric
    # the names of a model's losses are not declared: any may be measured
    if metric and is_loss(metric):
        names.add(metric)
    promotion_objective(recipe, task, names)


def check_workers(recipe: Recipe, dataset: PreparedDataset) -> None:
    """Raise RequestError if a batch has fewer samples than there may be workers."""
    faults = worker_faults(recipe, dataset.info.counts["train"])
    if faults:
        raise RequestError(*faults)


def as_shipped(recipe: Recipe) -> dict[str, Any]:
    """Return the recipe as plain data, its weights file by absolute path.

    Workers run in directories of their own.
    """
    data = recipe.model_dump(mode="json", by_alias=True)
    weights = recipe.model.weights
    if weights is not None:
        data["model"]["weights"] = str(weights.absolute())
    return data


def train_worker(session: Session, recipe: dict[str, Any], dataset: str) -> None:
    """Train to the end of the recipe's plan; runs on each rank."""
    typed = Recipe.model_validate(recipe)
    prepared = PreparedDataset(Path(dataset))
    train_loop(typed, prepared, session)


def exported(store: CheckpointStore, recipe: Recipe) -> dict[str, Tensor]:
    """Return the weights that become the model, from the best or the last checkpoint."""
    checkpoint = store.best() if recipe.train.keep == "best" else store.latest()
    if checkpoint is None:
        raise CvflowError(f"{store.root}: no whole checkpoint was written")
    return measured_weights(checkpoint.tensors)
