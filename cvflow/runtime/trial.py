"""One trial of a search, in its Tune actor: the engine's loop with a session that reports epochs
and looks for a request to stop.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TextIO

import torch
from ray import tune

from cvflow.config import Compute
from cvflow.engine.checkpoint import Checkpoint, CheckpointStore, read_checkpoint
from cvflow.engine.history import History, read_history
from cvflow.engine.search.journal import PARAMS, SOURCE
from cvflow.engine.session import Point, Progress
from cvflow.errors import CvflowError, InterruptedRunError
from cvflow.plugins import load_texts
from cvflow.runtime.console import Console
from cvflow.runtime.cores import compute_on
from cvflow.runtime.local import pick_device
from cvflow.runtime.schedulers import EPOCH, SCORE

STOP = "stop"
"""A file of this name asks to stop: in the search's folder every trial, in a trial's folder that trial."""
RAY = "ray"
"""Below the search's folder: what Tune and its trials need while they run."""


class TrialSession:
    """One rank in a Tune actor.

    Checkpoints and history live in the trial's folder, which every node reaches.
    """

    rank = 0
    world_size = 1
    report_seconds = 0.0

    def __init__(
        self, compute: Compute, folder: Path, reporter: Reporter, cpus: float, params: Mapping[str, Any]
    ) -> None:
        self.device = pick_device(compute)
        self.loader_workers = compute.loader_workers
        self.checkpoint_seconds = 60 * compute.checkpoint_minutes
        self.checkpoints = ReportingStore(folder / "checkpoints", reporter, params)
        self._history, self._reporter, self._folder = History(folder / "history.jsonl"), reporter, folder
        compute_on(compute.threads or max(1, int(cpus)))

    def report(self, points: Sequence[Point]) -> None:
        self._history.append(points)
        for point in points:
            self._reporter.take(point.metrics)

    def progress(self, at: Progress) -> None:
        """The driver shows whole epochs."""

    def say(self, text: str) -> None:
        """Into the trial's log."""
        with (self._folder / "log.txt").open("a") as file:
            file.write(text + "\n")

    def should_stop(self) -> bool:
        return asked_to_stop(self._folder)


class Reporter:
    """Sends an epoch's score to Tune, once; where the params may be changed in mid-training, with
    the checkpoint.

    waits: for Tune's answer, which comes when its scheduler has decided: a request to stop is seen
    before the next step.
    """

    def __init__(self, metric: str, sign: float, exploits: bool, waits: bool) -> None:
        self._metric, self._sign, self._exploits, self._waits = metric, sign, exploits, waits
        self.source: dict[str, int] = {}
        self._waiting: dict[str, float] | None = None
        self._sender = ThreadPoolExecutor(1, thread_name_prefix="tune-report")

    def take(self, metrics: Mapping[str, float]) -> None:
        if EPOCH in metrics and self._metric in metrics:
            self._waiting = {
                EPOCH: round(metrics[EPOCH]),
                SCORE: self._sign * metrics[self._metric],
                **self.source,
            }

    def send(self, checkpoint: Path | None = None) -> None:
        if self._waiting is None:
            return
        report, self._waiting = self._waiting, None
        saved = tune.Checkpoint.from_directory(checkpoint) if checkpoint and self._exploits else None
        sent = self._sender.submit(tune.report, report, checkpoint=saved)
        if self._waits:
            sent.result()

    def end(self, how: Mapping[str, str]) -> None:
        """The last report, after all others."""
        self._sender.submit(tune.report, dict(how)).result()
        self._sender.shutdown()


class ReportingStore(CheckpointStore):
    """An epoch is reported when its checkpoint is there, which says whose it is and with which params."""

    def __init__(self, root: Path, reporter: Reporter, params: Mapping[str, Any]) -> None:
        super().__init__(root)
        self._reporter, self._params = reporter, dict(params)

    def save(self, step: int, checkpoint: Checkpoint, best: bool = False) -> Path:
        checkpoint_of_trial = Checkpoint(
            {**checkpoint.state, SOURCE: int(self.root.parent.name), PARAMS: self._params}, checkpoint.tensors
        )
        path = super().save(step, checkpoint_of_trial, best)
        self._reporter.send(path)
        return path


class NestedConsole(Console):
    """What a trial on several workers shows goes to the scheduler and the trial's log; its workers
    do not wait for the answer.
    """

    def __init__(self, reporter: Reporter, log: TextIO) -> None:
        super().__init__(log)
        self._reporter = reporter

    def progress(self, at: Progress) -> None:
        """The driver shows whole epochs."""

    def point(self, point: Point) -> None:
        self._reporter.take(point.metrics)
        self._reporter.send()


def asked_to_stop(folder: Path) -> bool:
    return (folder / STOP).exists() or (folder.parents[1] / STOP).exists()


def run_trial(config: dict[str, Any], shared: dict[str, Any]) -> None:
    """What Tune calls: trains the trial's recipe to its end, and says how it ended."""
    load_texts(shared["plugins"])
    folder = own_folder(Path(shared["folder"]), tune.get_context().get_trial_id())
    folder.mkdir(parents=True, exist_ok=True)
    compute = Compute.model_validate(shared["compute"])
    reporter = Reporter(shared["metric"], shared["sign"], shared["exploits"], shared["waits"])
    arguments = {"recipe": shared["recipe_of"](config["params"]), "dataset": shared["dataset"]}
    if compute.most > 1:
        reporter.end(ended(folder, lambda: nested(shared["work"], compute, folder, reporter, arguments)))
        return
    if tune_checkpoint := tune.get_checkpoint():
        source = adopt(Path(tune_checkpoint.path), folder, config["params"])
        reporter.source = (
            {SOURCE: source} if source != int(folder.name) else {}
        )  # its own, where it was only paused
    session = TrialSession(compute, folder, reporter, shared["cpus"], config["params"])
    reporter.end(ended(folder, lambda: shared["work"](session, **arguments)))


def own_folder(folder: Path, trial_id: str, number: int | None = None) -> Path:
    """The trial's folder by Tune's id; number: noted for it.

    (Its config may come from another trial, number and all.)
    """
    note = folder / RAY / f"trial_{trial_id}"
    if number is not None:
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(f"{number:04}")
    return folder / "trials" / note.read_text()


def nested(
    work: Callable[..., Any], compute: Compute, folder: Path, reporter: Reporter, arguments: dict[str, Any]
) -> None:
    """The trial as a Ray Train run of its own, which ends its workers itself when it is asked to stop."""
    # torch's distributed part is loaded only where it is used
    from cvflow.runtime.ray_train import fit

    with (folder / "log.txt").open("a") as log:
        console = NestedConsole(reporter, log)
        fit(
            work,
            compute,
            folder / "checkpoints",
            folder / "history.jsonl",
            console,
            arguments,
            lambda: asked_to_stop(folder),
        )


def ended(folder: Path, work: Callable[[], Any]) -> dict[str, str]:
    """Do the work; how it ended, in words that the driver takes down."""
    try:
        work()
    except InterruptedRunError:
        return {"end": "stopped" if (folder / STOP).exists() else "interrupted"}
    except torch.OutOfMemoryError as error:
        return {"end": "failed", "reason": f"out of memory: {str(error).splitlines()[0]}"}
    except CvflowError as error:
        return {"end": "failed", "reason": str(error)}
    except Exception as error:  # a setting can break anything; the search goes on
        return {"end": "failed", "reason": f"{type(error).__name__}: {error}"}
    return {"end": "done"}


def adopt(directory: Path, folder: Path, params: Mapping[str, Any]) -> int:
    """Go on from another trial's checkpoint, with these params in its optimiser's groups (the loop
    sets the rate itself); whose it is.

    What the trial's history says of later steps is dropped.
    """
    checkpoint = read_checkpoint(directory)
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    options = {
        key.removeprefix("train.optimizer."): value
        for key, value in params.items()
        if key.startswith("train.optimizer.")
    }
    for group in checkpoint.state.get("optimizer", {}).get("param_groups", ()):
        group |= {key: value for key, value in options.items() if group.get(key)}
    taken = Checkpoint({**checkpoint.state, PARAMS: dict(params)}, checkpoint.tensors)
    CheckpointStore(folder / "checkpoints").save(taken.state["step"], taken)
    history = folder / "history.jsonl"
    earlier_points = [point for _, point in read_history(history) if point.step <= checkpoint.state["step"]]
    history.unlink(missing_ok=True)
    History(history).append(earlier_points)
    return int(checkpoint.state[SOURCE])
