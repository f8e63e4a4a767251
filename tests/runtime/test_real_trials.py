"""Real trainings as trials: population-based training hands weights on, and all read the same files."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray

from cvflow.config import Compute, Recipe, SplitRule
from cvflow.dataset.prepare import prepare
from cvflow.dataset.prepared import PreparedDataset, read_description
from cvflow.engine.checkpoint import Checkpoint
from cvflow.engine.loop import train
from cvflow.engine.search.conductor import Conductor
from cvflow.engine.search.space import Space
from cvflow.engine.session import Point, Session
from cvflow.registry import Component, build
from cvflow.runtime.ray_tune import run_trials
from cvflow.space import Search
from cvflow.tasks.classification import Classification
from cvflow.types import Objective

pytestmark = [
    pytest.mark.slow,
    pytest.mark.ray,
    pytest.mark.usefixtures("local_ray"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
ACCURACY = Objective("accuracy", "max")
COMPUTE = Compute(threads=1, device="cpu")


def train_and_note(session: Session, recipe: dict[str, Any], dataset: str) -> None:
    """A real training. Noted in ``notes.jsonl`` beside the data: the weights that it starts from,
    and those after each epoch.
    """
    store, save = session.checkpoints, session.checkpoints.save

    def note(what: str, checkpoint: Checkpoint) -> None:
        weights = b"".join(t.numpy().tobytes() for _, t in sorted(checkpoint.tensors["model"].items()))
        digest = hashlib.sha256(weights).hexdigest()
        with Path(dataset).with_name("notes.jsonl").open("a") as file:
            entry = {
                "trial": int(store.root.parent.name),
                "lr": recipe["train"]["optimizer"]["lr"],
                what: digest,
            }
            file.write(json.dumps({**entry, "step": checkpoint.state["step"]}) + "\n")

    def noted(step: int, checkpoint: Checkpoint, best: bool = False) -> Path:
        note("saved", checkpoint)
        return save(step, checkpoint, best)

    store.save = noted  # type: ignore[method-assign]
    if (found := store.latest()) is not None:
        note("from", found)
    train(Recipe.model_validate(recipe), PreparedDataset(Path(dataset)), session)


def train_and_look(session: Session, recipe: dict[str, Any], dataset: str) -> None:
    """A real training. Noted in ``open.jsonl`` beside the data after each epoch: the Arrow files
    that this process has open.
    """
    report = session.report

    def noted(points: Sequence[Point]) -> None:
        lines = (line.split(maxsplit=5) for line in Path("/proc/self/maps").read_text().splitlines())
        files = sorted({line[5] for line in lines if len(line) == 6 and line[5].endswith(".arrow")})
        with Path(dataset).with_name("open.jsonl").open("a") as file:
            file.write(json.dumps(files) + "\n")
        report(points)

    session.report = noted  # type: ignore[method-assign]
    train(Recipe.model_validate(recipe), PreparedDataset(Path(dataset)), session)


def digits_recipe(params: dict[str, Any]) -> dict[str, Any]:
    """Three epochs of a LeNet."""
    plan = {
        "epochs": 3,
        "batch_size": 64,
        "schedule": "constant",
        "optimizer": {"name": "sgd", "lr": params["train.optimizer.lr"]},
    }
    sections = {
        "task": "classification",
        "data": {"format": "digits"},
        "image": {"size": (8, 8), "channels": 1},
    }
    return Recipe.model_validate({**sections, "model": {"name": "classifier"}, "train": plan}).model_dump(
        mode="json", by_alias=True
    )


def test_population_based_training_of_real_digits_copies_weights_and_says_whose(
    tmp_path: Path, digits: PreparedDataset
) -> None:
    shutil.copytree(digits.path, tmp_path / "data")
    search = {
        "algorithm": "random",
        "samples": 4,
        "scheduler": {"name": "pbt", "resample": 0.0},
        "cpus": 0.25,
        "concurrency": 4,
    }
    made = Search.model_validate({"space": {"train.optimizer.lr": "loguniform(1e-6, 0.1)"}, **search})
    conductor = Conductor(
        made, ACCURACY, build("searcher", made.algorithm, Space(made.space, {}), 0), tmp_path / "search"
    )
    run_trials(
        conductor,
        build("scheduler", made.scheduler, 3, made.space),
        train_and_note,
        digits_recipe,
        COMPUTE,
        str(tmp_path / "data"),
    )
    assert all(trial.state == "done" and trial.epochs == 3 for trial in conductor.trials)
    journal = [json.loads(line) for line in (tmp_path / "search/journal.jsonl").read_text().splitlines()]
    changes = [entry for entry in journal if entry["event"] == "changed"]
    assert changes
    notes = [json.loads(line) for line in (tmp_path / "notes.jsonl").read_text().splitlines()]
    saved = {(note["trial"], note["step"], note["saved"]): note["lr"] for note in notes if "saved" in note}
    taken = [n for n in notes if "from" in n and (n["trial"], n["step"], n["from"]) not in saved]
    assert len(taken) >= len(changes), "one that is taken over again before it reports leaves one entry"
    for change in changes:
        rate, source = change["params"]["train.optimizer.lr"], change["source"]
        assert source != change["trial"]
        starts = [n for n in taken if (n["trial"], n["lr"]) == (change["trial"], rate)]
        donors = [
            saved[source, n["step"], n["from"]] for n in starts if (source, n["step"], n["from"]) in saved
        ]
        assert donors, "the weights that it goes on from are those of its source, to the bit"
        assert rate in [pytest.approx(factor * donors[0]) for factor in (0.8, 1.2)] or rate == 0.1, (
            "its setting is the source's, changed"
        )


def test_all_trials_read_the_same_files_and_nothing_is_copied(tmp_path: Path) -> None:
    """No trial has more than the prepared files open, and no byte of them is in its folder, in
    Ray's, or in the object store.
    """
    data = tmp_path / "data"
    prepare(
        build("format", Component(name="digits"), None),
        Classification.schema,
        "classification",
        SplitRule(test=0.1),
        data,
        64,
    )
    files = {split: str(data / shards[0].file) for split, shards in read_description(data).shards.items()}
    before = {
        path: (path.stat().st_ino, path.stat().st_mtime_ns, path.read_bytes())
        for path in sorted(data.rglob("*.arrow"))
    }
    assert [str(path) for path in before] == sorted(files.values())
    needle = pieces(Path(files["train"]))
    control = ray.put(b"x" * 200_000 + needle[0])
    assert held(object_store(), needle[:1]), "the test would find it"
    needle = needle[1:]
    search = Search.model_validate(
        {"space": {"train.optimizer.lr": [0.01, 0.05, 0.1]}, "algorithm": "grid", "concurrency": 2}
    )
    conductor = Conductor(
        search, ACCURACY, build("searcher", search.algorithm, Space(search.space, {}), 0), tmp_path / "search"
    )
    run_trials(
        conductor,
        build("scheduler", search.scheduler, 3, search.space),
        train_and_look,
        digits_recipe,
        COMPUTE,
        str(data),
    )
    assert [(trial.state, trial.epochs) for trial in conductor.trials] == [("done", 3)] * 3
    opened = [json.loads(line) for line in (tmp_path / "open.jsonl").read_text().splitlines()]
    assert {files["train"]} <= {path for paths in opened for path in paths} <= {files["train"], files["val"]}
    assert {
        path: (path.stat().st_ino, path.stat().st_mtime_ns, path.read_bytes())
        for path in sorted(data.rglob("*.arrow"))
    } == before
    session = Path(ray._private.worker._global_node.get_session_dir_path())
    for folder in (tmp_path / "search", session):
        found = [path for path in folder.rglob("*") if path.is_file()]
        assert len(found) > 3
        assert [path for path in found if path.suffix in (".arrow", ".parquet") or held(path, needle)] == []
    assert not held(object_store(), needle)
    del control


def pieces(shard: Path) -> list[bytes]:
    """Ten stretches of the file, each 64 bytes that stand in it once."""
    content = shard.read_bytes()
    found = [content[at : at + 64] for at in range(len(content) // 20, len(content) - 64, len(content) // 11)]
    return [piece for piece in found if content.count(piece) == 1]


def object_store() -> Path:
    """The memory of the local Ray's object store, as a file."""
    raylet = next(
        process for process in psutil.Process().children(recursive=True) if process.name() == "raylet"
    )
    links = Path(f"/proc/{raylet.pid}/fd").iterdir()
    return next(link for link in links if "plasma" in os.readlink(link) and "socket" not in os.readlink(link))


def held(path: Path, needles: Sequence[bytes]) -> bool:
    """Whether any of the bytes are in the file; its holes are not read."""
    with path.open("rb") as file:
        at = 0
        while True:
            try:
                at = os.lseek(file.fileno(), at, os.SEEK_DATA)
            except OSError:  # nothing but a hole
                return False
            end = os.lseek(file.fileno(), at, os.SEEK_HOLE)
            content = os.pread(file.fileno(), end - at, at)
            if any(needle in content for needle in needles):
                return True
            at = end
