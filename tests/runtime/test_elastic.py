"""A cluster that loses a node in mid-run: the samples come in the order of a training that nobody touched."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
from ray import cloudpickle
from ray.cluster_utils import Cluster

from cvflow.config import Compute, Recipe
from cvflow.data.dataset import PreparedDataset
from cvflow.engine.history import read_history
from cvflow.engine.loop import train
from cvflow.engine.session import Session
from cvflow.runtime.launch import launch

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.filterwarnings("ignore")]


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """Two nodes with a CPU each; the driver is on the first."""
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    nodes.add_node(num_cpus=1)
    ray.init(address=nodes.address, log_to_driver=False)
    yield nodes
    ray.shutdown()
    nodes.shutdown()
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


def recipe() -> dict[str, Any]:
    """60 steps with augmentation."""
    plan = {"epochs": 3, "batch_size": 16, "optimizer": {"name": "adamw", "lr": 0.003}, "augment": [{"name": "random_crop", "padding": 1}]}
    sections = {"task": "classification", "data": {"format": "digits"}, "image": {"size": (16, 16), "channels": 1}}
    found = Recipe.model_validate({**sections, "model": {"name": "classifier"}, "train": plan, "tracking": {"every": 1}})
    return found.model_dump(mode="json", by_alias=True)


def slowly(session: Any, recipe: dict[str, Any], dataset: str, sizes: str) -> None:
    """Train, a second a step while there are two workers; ``sizes`` lists the world sizes met."""
    if session.rank == 0:
        with Path(sizes).open("a") as file:
            file.write(f"{session.world_size}\n")
    ask = session.should_stop

    def should_stop() -> bool:  # asked after every step
        time.sleep(session.world_size - 1)
        return bool(ask())

    session.should_stop = should_stop
    kept: Session = session
    train(Recipe.model_validate(recipe), PreparedDataset(dataset), kept)


def steps(history: Path) -> dict[int, float]:
    """Loss by step; each step once."""
    found = [(p.step, p.metrics["loss"]) for _, p in read_history(history) if "epoch" not in p.metrics]
    assert len(found) == len(dict(found))
    return dict(found)


def lose(cluster: Cluster, history: Path) -> None:
    """Take the second node away after three steps."""
    until = time.monotonic() + 300
    while len(list(read_history(history))) < 3 and time.monotonic() < until:
        time.sleep(0.2)
    cluster.remove_node(cluster.worker_nodes.pop(), allow_graceful=False)


def test_a_node_is_lost(cluster: Cluster, digits: PreparedDataset, tmp_path: Path) -> None:
    sizes, history = tmp_path / "sizes", tmp_path / "history.jsonl"
    compute = Compute(workers=(1, 2), threads=1, device="cpu", checkpoint_minutes=0.02)
    fate = threading.Thread(target=lose, args=(cluster, history), daemon=True)
    fate.start()
    launch(slowly, compute, tmp_path / "checkpoints", history, recipe=recipe(), dataset=str(digits.path), sizes=str(sizes))
    fate.join(10)
    assert sizes.read_text().split() == ["2", "1"]
    alone = tmp_path / "alone.jsonl"
    launch(undisturbed, Compute(threads=1, device="cpu"), tmp_path / "other", alone, recipe=recipe(), dataset=str(digits.path))
    one, elastic = steps(alone), steps(history)
    assert sorted(elastic) == sorted(one) == list(range(1, 61))
    np.testing.assert_allclose([elastic[s] for s in sorted(one)], [one[s] for s in sorted(one)], rtol=0, atol=1e-4)


def undisturbed(session: Session, recipe: dict[str, Any], dataset: str) -> None:
    train(Recipe.model_validate(recipe), PreparedDataset(dataset), session)
