"""A cluster that loses a node in mid-run, or gets one: the samples come in the order of a training
that nobody touched.
"""

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
from cvflow.dataset.prepared import PreparedDataset
from cvflow.engine.history import read_history
from cvflow.engine.loop import train
from cvflow.engine.session import Session
from cvflow.runtime.launch import launch

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore"),
]


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A node with a CPU, where the driver is."""
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    ray.init(address=nodes.address, log_to_driver=False)
    yield nodes
    ray.shutdown()
    nodes.shutdown()
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


def recipe() -> dict[str, Any]:
    """60 steps with augmentation."""
    plan = {
        "epochs": 3,
        "batch_size": 16,
        "optimizer": {"name": "adamw", "lr": 0.003},
        "augment": [{"name": "random_crop", "padding": 1}],
    }
    sections = {
        "task": "classification",
        "data": {"format": "digits"},
        "image": {"size": (16, 16), "channels": 1},
    }
    found = Recipe.model_validate(
        {**sections, "model": {"name": "classifier"}, "train": plan, "tracking": {"every": 1}}
    )
    return found.model_dump(mode="json", by_alias=True)


def slowly(session: Any, recipe: dict[str, Any], dataset: str, sizes: str, pace: dict[int, float]) -> None:
    """Train; ``sizes`` lists the world sizes met. pace: world size -> seconds that a step takes longer."""
    if session.rank == 0:
        with Path(sizes).open("a") as file:
            file.write(f"{session.world_size}\n")
    ask = session.should_stop

    def should_stop() -> bool:  # asked after every step
        time.sleep(pace.get(session.world_size, 0))
        return bool(ask())

    session.should_stop = should_stop
    kept: Session = session
    train(Recipe.model_validate(recipe), PreparedDataset(dataset), kept)


def steps(history: Path) -> dict[int, float]:
    """Loss by step; each step once."""
    found = [(p.step, p.metrics["loss"]) for _, p in read_history(history) if "epoch" not in p.metrics]
    assert len(found) == len(dict(found))
    return dict(found)


def elastic(tmp_path: Path, digits: PreparedDataset, pace: dict[int, float]) -> threading.Thread:
    """A training on one worker or two, under way beside the main thread, which alone can add nodes."""
    compute = Compute(workers=(1, 2), threads=1, device="cpu", checkpoint_minutes=0.02)
    arguments: dict[str, Any] = {
        "recipe": recipe(),
        "dataset": str(digits.path),
        "sizes": str(tmp_path / "sizes"),
        "pace": pace,
    }
    history = tmp_path / "history.jsonl"
    running = threading.Thread(
        target=launch,
        args=(slowly, compute, tmp_path / "checkpoints", history),
        kwargs=arguments,
        daemon=True,
    )
    running.start()
    until = time.monotonic() + 300
    while len(list(read_history(history))) < 3 and time.monotonic() < until:
        time.sleep(0.2)
    return running


def check(running: threading.Thread, tmp_path: Path, digits: PreparedDataset, sizes: list[str]) -> None:
    """It ends, having met these world sizes, with the losses of a training that nobody touched."""
    running.join(300)
    assert (tmp_path / "sizes").read_text().split() == sizes
    alone = tmp_path / "alone.jsonl"
    launch(
        undisturbed,
        Compute(threads=1, device="cpu"),
        tmp_path / "other",
        alone,
        recipe=recipe(),
        dataset=str(digits.path),
    )
    one, found = steps(alone), steps(tmp_path / "history.jsonl")
    assert sorted(found) == sorted(one) == list(range(1, 61))
    np.testing.assert_allclose(
        [found[s] for s in sorted(one)], [one[s] for s in sorted(one)], rtol=0, atol=1e-4
    )


def test_a_node_is_lost(cluster: Cluster, digits: PreparedDataset, tmp_path: Path) -> None:
    node = cluster.add_node(num_cpus=1)
    running = elastic(tmp_path, digits, {2: 1.0})
    cluster.remove_node(node, allow_graceful=False)
    check(running, tmp_path, digits, ["2", "1"])


def test_a_node_is_added(cluster: Cluster, digits: PreparedDataset, tmp_path: Path) -> None:
    """Ray looks for more room once a minute."""
    running = elastic(tmp_path, digits, {1: 1.6})
    cluster.add_node(num_cpus=1)
    check(running, tmp_path, digits, ["1", "2"])


def undisturbed(session: Session, recipe: dict[str, Any], dataset: str) -> None:
    train(Recipe.model_validate(recipe), PreparedDataset(dataset), session)
