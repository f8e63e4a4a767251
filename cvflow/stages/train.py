"""train: the prepared dataset in, a model out; resumed where it was broken off."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

from cvflow.config import Recipe
from cvflow.data.dataset import PreparedDataset
from cvflow.engine.checkpoint import Checkpoint, CheckpointStore
from cvflow.engine.export import write_model
from cvflow.engine.loop import train as train_loop
from cvflow.engine.session import Session
from cvflow.errors import CvflowError
from cvflow.runtime.launch import launch
from cvflow.stages.run import STATE, Run
from cvflow.stages.tracked import tracked


def train(run: Run) -> None:
    """Write ``runs/<name>/model`` and ``history.jsonl``; checkpoints live in ``.cvflow/train/<fingerprint>`` until then."""
    dataset = PreparedDataset(run.path("data"))
    digest = dataset.digest
    fingerprint = run.fingerprint("train", digest)
    state = (run.recipe.compute.storage or STATE).absolute() / "train" / fingerprint
    store, history = CheckpointStore(state / "checkpoints"), state / "history.jsonl"
    resumed = store.latest()
    if resumed is not None and resumed.state["step"]:
        sys.stderr.write(f"resuming after epoch {resumed.state['epochs_done']} (step {resumed.state['step']})\n")
    with tracked(run, fingerprint, digest, history):
        launch(
            train_worker, run.recipe.compute, store.root, history,
            recipe=as_shipped(run.recipe), dataset=str(dataset.path.absolute()),
        )  # fmt: skip
    write_model(run.path("model"), exported(store, run.recipe).tensors["model"], run.resolved, dataset.info, fingerprint, digest)
    history.touch()
    shutil.copyfile(history, run.path("history.jsonl"))
    shutil.rmtree(state)


def as_shipped(recipe: Recipe) -> dict[str, Any]:
    """The recipe as plain data, its weights file by absolute path: workers run in directories of their own."""
    data = recipe.model_dump(mode="json", by_alias=True)
    if recipe.model.weights is not None:
        data["model"]["weights"] = str(recipe.model.weights.absolute())
    return data


def train_worker(session: Session, recipe: dict[str, Any], dataset: str) -> None:
    """On each rank: train to the end of the recipe's plan."""
    job = train_loop(Recipe.model_validate(recipe), PreparedDataset(Path(dataset)), session)
    if job.weights_report and session.rank == 0:
        sys.stderr.write(f"{job.weights_report}\n")


def exported(store: CheckpointStore, recipe: Recipe) -> Checkpoint:
    """The checkpoint that becomes the model."""
    checkpoint = store.best() if recipe.train.keep == "best" else store.latest()
    if checkpoint is None:
        raise CvflowError(f"{store.root}: no whole checkpoint was written")
    return checkpoint
