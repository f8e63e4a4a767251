"""Sessions on Ray Train workers: ``compute.workers: n``. The only module that imports ray.train."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ray
import ray.exceptions
import ray.train
import ray.train.torch
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cvflow.config import Compute
from cvflow.engine.checkpoint import CheckpointStore
from cvflow.engine.session import Point, Progress
from cvflow.errors import CvflowError
from cvflow.plugins import load_texts, loaded_plugins
from cvflow.runtime.cluster import check_resources, connect, uses_gpu
from cvflow.runtime.console import Console
from cvflow.runtime.cores import compute_on, threads
from cvflow.runtime.explain import of_a_rank
from cvflow.runtime.follow import follow
from cvflow.runtime.interrupts import Interrupts
from cvflow.runtime.ray_faults import MAX_FAILURES, Watch, unwrap


class RaySession:
    """A rank of a Ray Train run; points travel through the controller to the history file."""

    report_seconds = 60.0

    def __init__(self, compute: Compute, checkpoints: CheckpointStore, mailbox: Any) -> None:
        context = ray.train.get_context()
        self.rank, self.world_size = context.get_world_rank(), context.get_world_size()
        self.device = ray.train.torch.get_device()
        self.loader_workers = compute.loader_workers
        self.checkpoint_seconds = 60 * compute.checkpoint_minutes
        self.checkpoints = checkpoints
        self._mailbox, self._sent = mailbox, 0.0
        self._answer: Any = None
        self._asked = False
        compute_on(threads(compute))

    def report(self, points: Sequence[Point]) -> None:
        ray.train.report({"points": [asdict(point) for point in points]})

    def progress(self, at: Progress) -> None:
        if time.monotonic() - self._sent > 0.5:
            self._sent = time.monotonic()
            self._mailbox.put.remote(at)

    def say(self, text: str) -> None:
        self._mailbox.say.remote(text)

    def should_stop(self) -> bool:
        """Rank 0 asks the mailbox, and takes the answer when it comes: a step waits for nobody."""
        if self.rank == 0 and not self._asked:
            if self._answer is None:
                self._answer = self._mailbox.should_stop.remote()
            elif ray.wait([self._answer], timeout=0)[0]:
                # a mailbox that is gone asks for nothing
                with suppress(ray.exceptions.RayError):
                    self._asked = ray.get(self._answer)
                self._answer = None
        return self._asked


@ray.remote(num_cpus=0)
class Mailbox:
    """Between the driver and rank 0: the newest progress, what is to be said, whether to stop.

    Losing it costs nothing.
    """

    def __init__(self) -> None:
        self.at: Progress | None = None
        self.said: list[str] = []
        self.stop = False

    def put(self, at: Progress) -> None:
        self.at = at

    def say(self, text: str) -> None:
        self.said.append(text)

    def get(self) -> tuple[Progress | None, list[str]]:
        """The newest progress, and what was said since the last look."""
        lines, self.said = self.said, []
        return self.at, lines

    def ask_to_stop(self) -> None:
        self.stop = True

    def should_stop(self) -> bool:
        return self.stop


def fit(
    work: Callable[..., Any],
    compute: Compute,
    checkpoints: Path,
    history: Path | None,
    console: Console,
    arguments: dict[str, Any],
    asked: Callable[[], bool] = lambda: False,
) -> Any:
    """Run ``work(session, **arguments)`` on every worker; gives rank 0's return value (plain data).

    asked: whether to stop, besides Ctrl-C and SIGTERM.
    """
    connect(compute)
    check_resources(compute)
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    # not on a node that may go
    mailbox = Mailbox.options(scheduling_strategy=here).remote()  # type: ignore[attr-defined]
    config = {
        "work": work,
        "arguments": arguments,
        "compute": compute.model_dump(mode="json"),
        "checkpoints": str(checkpoints),
        "mailbox": mailbox,
        "plugins": loaded_plugins(),
    }
    os.environ["RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S"] = str(
        60 * compute.hang_minutes
    )  # Ray takes it to the controller
    name = (
        uuid.uuid4().hex
    )  # new each time: Ray would answer an old one with its old result. Our own checkpoints resume.
    with tempfile.TemporaryDirectory(prefix="cvflow-ray-") as scratch:
        trainer = ray.train.torch.TorchTrainer(
            _worker,
            train_loop_config=config,
            scaling_config=ray.train.ScalingConfig(num_workers=compute.workers, use_gpu=uses_gpu(compute)),  # type: ignore[arg-type]
            torch_config=ray.train.torch.TorchConfig(timeout_s=round(60 * compute.hang_minutes)),
            run_config=ray.train.RunConfig(
                name=name,
                storage_path=str(compute.storage.absolute()) if compute.storage else scratch,
                callbacks=[Watch(history, mailbox)],  # type: ignore[list-item]
                failure_config=ray.train.FailureConfig(max_failures=MAX_FAILURES),
            ),
        )
        try:
            with Interrupts() as interrupts, follow(history, lambda: ray.get(mailbox.get.remote()), console):
                return _fit(trainer, lambda: interrupts.asked or asked(), mailbox)
        except ray.train.TrainingFailedError as error:
            raise unwrap(error) from error
        finally:
            if compute.storage:
                shutil.rmtree(compute.storage / name, ignore_errors=True)


def _fit(trainer: Any, asked: Callable[[], bool], mailbox: Any) -> Any:
    """``trainer.fit()`` beside the main thread, where Ray takes no signals to itself: they ask the
    workers to stop.
    """
    fitting: Future[Any] = Future()
    was_told = False

    def fit() -> None:
        try:
            fitting.set_result(trainer.fit().return_value)
        except BaseException as error:
            fitting.set_exception(error)

    threading.Thread(
        target=fit, name="ray-train-fit", daemon=True
    ).start()  # a second signal leaves it behind
    while not wait([fitting], timeout=0.2).done:
        if not was_told and asked():
            was_told = True
            mailbox.ask_to_stop.remote()
    return fitting.result()


def _worker(config: dict[str, Any]) -> Any:
    load_texts(config["plugins"])
    compute = Compute.model_validate(config["compute"])
    session = RaySession(compute, CheckpointStore(Path(config["checkpoints"])), config["mailbox"])
    try:
        value = config["work"](session, **config["arguments"])
    except CvflowError:
        raise
    except Exception as error:
        raise of_a_rank(error, session.rank, session.world_size) from error
    return value if session.rank == 0 else None
