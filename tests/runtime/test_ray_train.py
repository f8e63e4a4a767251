"""Training and evaluation on real Ray Train workers: what one process computes, two compute; errors
come out as they are.
"""

from __future__ import annotations

import math
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
import torch.distributed
from ray import cloudpickle
from ray.train.v2._internal.exceptions import UserExceptionWithTraceback

from cvflow.config import Compute, Recipe
from cvflow.dataset.prepared import PreparedDataset
from cvflow.engine.checkpoint import CheckpointStore
from cvflow.engine.export import write_model
from cvflow.engine.history import read_history
from cvflow.engine.session import Session
from cvflow.errors import CvflowError, Fault, RequestError
from cvflow.runtime.launch import launch
from cvflow.runtime.ray_faults import unwrap
from cvflow.stages.evaluate import measure
from cvflow.stages.train import train_worker

pytestmark = [
    pytest.mark.ray,
    pytest.mark.usefixtures("local_ray"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
]
LENET = {"name": "classifier"}
RESNET = {"name": "classifier", "backbone": {"name": "cifar_resnet", "depth": 20}}
FAULT = Fault("model.backbone", "'nothing'", "something", "Type something.")


def recipe_of(model: Any) -> Recipe:
    """One epoch of 20 steps with random crops; validated in five batches."""
    train = {
        "epochs": 1,
        "batch_size": 16,
        "optimizer": {"name": "adamw", "lr": 0.005},
        "schedule": "constant",
    }
    train["augment"] = [{"name": "random_crop", "padding": 1}]
    sections = {
        "task": "classification",
        "data": {"format": "digits"},
        "image": {"size": (16, 16), "channels": 1},
    }
    return Recipe.model_validate(
        {**sections, "model": model, "train": train, "evaluate": {"batch_size": 8}, "tracking": {"every": 1}}
    )


def compute(workers: int) -> Compute:
    return Compute(workers=workers, threads=1, device="cpu")


def trained(root: Path, digits: PreparedDataset, model: Any, workers: int) -> Path:
    """``root`` with the checkpoints, history and model of a training."""
    recipe = recipe_of(model).model_dump(mode="json", by_alias=True)
    store = CheckpointStore(root / "checkpoints")
    launch(
        train_worker,
        compute(workers),
        store.root,
        root / "history.jsonl",
        recipe=recipe,
        dataset=str(digits.path),
    )
    last = store.latest()
    assert last is not None
    write_model(root / "model", last.tensors["model"], recipe, digits.info, "f", "d")
    return root


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, digits: PreparedDataset) -> Path:
    return trained(tmp_path_factory.mktemp("alone"), digits, LENET, workers=0)


def metrics(root: Path, summary: bool) -> list[dict[str, float]]:
    return [
        dict(p.metrics) for _, p in read_history(root / "history.jsonl") if ("epoch" in p.metrics) == summary
    ]


def test_two_workers_take_the_steps_of_one(alone: Path, digits: PreparedDataset, tmp_path: Path) -> None:
    two = metrics(trained(tmp_path, digits, LENET, workers=2), summary=False)
    one = metrics(alone, summary=False)
    assert len(one) == len(two) == 20
    np.testing.assert_allclose([m["loss"] for m in two], [m["loss"] for m in one], rtol=0, atol=1e-5)
    assert one[0]["loss"] - one[-1]["loss"] > 0.3  # it learns: wrong steps would show
    assert [m["lr"] for m in two] == [m["lr"] for m in one]


def test_two_workers_predict_exactly_what_one_does(
    alone: Path, digits: PreparedDataset, tmp_path: Path
) -> None:
    one, two = (measure(alone / "model", digits.path, "test", 64, compute(n), tmp_path) for n in (0, 2))
    ids = [digits.split("test")[i]["id"] for i in range(digits.info.counts["test"])]
    assert [p.id for p in two.predictions] == ids
    assert two.predictions == one.predictions  # exactly: one thread, the same batches
    assert two.quality == one.quality
    assert two.metrics == one.metrics
    assert two.details == one.details


def test_batch_norm_averages_are_shared_before_evaluation(digits: PreparedDataset, tmp_path: Path) -> None:
    """The ranks see different samples in the last step: val must be measured with the averages that
    are saved.
    """
    root = trained(tmp_path, digits, RESNET, workers=2)
    (said,) = metrics(root, summary=True)
    measured = measure(root / "model", digits.path, "val", 8, compute(0), tmp_path).metrics
    assert {name: said[f"val_{name}"] for name in measured} == measured


def stumble(session: Session, log: str) -> None:
    """Rank 1 is killed the first time and refuses the second time; rank 0 waits for it."""
    session.report([])  # both have started, and Ray knows
    if session.rank == 1:
        with Path(log).open("a") as file:
            file.write("tried\n")
        if Path(log).read_text() == "tried\n":
            os.kill(os.getpid(), signal.SIGKILL)
        raise RequestError(FAULT)
    torch.distributed.barrier()


@pytest.mark.slow
def test_a_lost_worker_is_replaced_and_a_worker_s_own_error_comes_out_as_itself(tmp_path: Path) -> None:
    with pytest.raises(RequestError) as caught:
        launch(stumble, compute(2), tmp_path / "checkpoints", log=str(tmp_path / "log"))
    assert caught.value.faults == (FAULT,)
    assert caught.value.exit_code == 2
    # after the loss, and never after the refusal
    assert (tmp_path / "log").read_text() == "tried\n" * 2


@pytest.mark.parametrize(
    "error", [RequestError(FAULT), CvflowError("The loss is not finite at step 3.")], ids=["request", "work"]
)
def test_an_error_of_ours_is_found_among_what_the_ranks_raised(error: CvflowError) -> None:
    lost = UserExceptionWithTraceback(RuntimeError("Connection closed by peer"), "Traceback ...")
    own = UserExceptionWithTraceback(error, "Traceback ...")
    found = unwrap(
        ray.train.WorkerGroupError("two ranks", cloudpickle.loads(cloudpickle.dumps({0: lost, 1: own})))
    )
    assert type(found) is type(error)
    assert str(found) == str(error)
    assert unwrap(ray.train.ControllerError(error)) is error


def test_another_error_is_quoted() -> None:
    lost = UserExceptionWithTraceback(TypeError("no"), "Traceback ... TypeError: no")
    assert "TypeError: no" in str(unwrap(ray.train.WorkerGroupError(str(lost), {0: lost})))


def test_more_workers_than_there_are_cpus_are_refused_at_once(tmp_path: Path) -> None:
    have, started = math.floor(ray.cluster_resources()["CPU"]), time.monotonic()
    with pytest.raises(RequestError) as caught:
        launch(stumble, compute(have + 1), tmp_path / "checkpoints", log="")
    (fault,) = caught.value.faults
    assert (fault.where, fault.got) == ("compute.workers", str(have + 1))
    assert f"at most {have}" in fault.expected
    assert fault.fix.startswith(f"Type compute.workers={have}")
    assert time.monotonic() - started < 5
