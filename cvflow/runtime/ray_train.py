"""Sessions on Ray Train workers: ``compute.workers: n``. The only module that imports ray.train."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ray
import ray.train
import ray.train.torch
import torch

from cvflow.config import Compute
from cvflow.engine.checkpoint import CheckpointStore
from cvflow.engine.history import History
from cvflow.engine.session import Point, Progress
from cvflow.errors import CvflowError, Fault, RequestError
from cvflow.plugins import load_texts, loaded_plugins
from cvflow.runtime.console import Console
from cvflow.runtime.follow import follow
from cvflow.runtime.local import cores, threads


class RaySession:
    """A rank of a Ray Train run; points travel through the controller to the history file."""

    def __init__(self, compute: Compute, checkpoints: CheckpointStore, mailbox: Any) -> None:
        context = ray.train.get_context()
        self.rank, self.world_size = context.get_world_rank(), context.get_world_size()
        self.device = ray.train.torch.get_device()
        self.loader_workers = compute.loader_workers
        self.checkpoints = checkpoints
        self._mailbox, self._sent = mailbox, 0.0
        torch.set_num_threads(threads(compute))

    def report(self, points: Sequence[Point]) -> None:
        ray.train.report({"points": [asdict(point) for point in points]})

    def progress(self, at: Progress) -> None:
        if time.monotonic() - self._sent > 0.5:
            self._sent = time.monotonic()
            self._mailbox.put.remote(at)

    def should_stop(self) -> bool:
        return False


@ray.remote(num_cpus=0)
class Mailbox:
    """Holds the newest progress for the driver to show; losing it costs nothing."""

    def __init__(self) -> None:
        self.at: Progress | None = None

    def put(self, at: Progress) -> None:
        self.at = at

    def get(self) -> Progress | None:
        return self.at


class Watch(ray.train.UserCallback):
    """Runs in the controller, on the driver's node: keeps what rank 0 reports, ends the run where trying again is of no use."""

    def __init__(self, history: Path | None) -> None:
        self.history = history

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:
        if self.history is not None:
            History(self.history).append([Point(**point) for point in metrics[0]["points"]])

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        own = own_error(worker_exceptions.values())
        if own is not None:
            raise own  # in the controller, where nothing is retried; a lost worker is replaced


def fit(
    work: Callable[..., Any], compute: Compute, checkpoints: Path, history: Path | None, console: Console, arguments: dict[str, Any]
) -> Any:
    """Run ``work(session, **arguments)`` on every worker; gives rank 0's return value (plain data)."""
    connect(compute)
    check_resources(compute)
    mailbox = Mailbox.remote()  # type: ignore[attr-defined]
    config = {
        "work": work,
        "arguments": arguments,
        "compute": compute.model_dump(mode="json"),
        "checkpoints": str(checkpoints),
        "mailbox": mailbox,
        "plugins": loaded_plugins(),
    }
    name = uuid.uuid4().hex  # new each time: Ray would answer an old one with its old result. Our own checkpoints resume.
    with tempfile.TemporaryDirectory(prefix="cvflow-ray-") as scratch:
        trainer = ray.train.torch.TorchTrainer(
            _worker,
            train_loop_config=config,
            scaling_config=ray.train.ScalingConfig(num_workers=compute.workers, use_gpu=uses_gpu(compute)),
            run_config=ray.train.RunConfig(
                name=name,
                storage_path=str(compute.storage.absolute()) if compute.storage else scratch,
                callbacks=[Watch(history)],  # type: ignore[list-item]
                failure_config=ray.train.FailureConfig(max_failures=2),
            ),
        )
        try:
            with interrupts_raised(), follow(history, lambda: ray.get(mailbox.get.remote()), console):
                return trainer.fit().return_value  # type: ignore[attr-defined]
        except ray.train.TrainingFailedError as error:
            raise unwrap(error) from error
        finally:
            if compute.storage:
                shutil.rmtree(compute.storage / name, ignore_errors=True)


@contextmanager
def interrupts_raised() -> Iterator[None]:
    """Ray's fit answers Ctrl-C with ``sys.exit(0)``, and leaves its handler behind: here it is KeyboardInterrupt again."""
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as error:
        raise KeyboardInterrupt from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, before)


def _worker(config: dict[str, Any]) -> Any:
    load_texts(config["plugins"])
    compute = Compute.model_validate(config["compute"])
    session = RaySession(compute, CheckpointStore(Path(config["checkpoints"])), config["mailbox"])
    value = config["work"](session, **config["arguments"])
    return value if session.rank == 0 else None


def connect(compute: Compute) -> None:
    """Join the cluster of ``compute.address``, or start a local Ray that ends with this process."""
    if ray.is_initialized():
        return
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    local: dict[str, Any] = {} if compute.address else {"num_cpus": cores(), "include_dashboard": False}
    try:
        with stderr_kept_unless_it_fails():
            ray.init(address=compute.address or "local", logging_level=logging.ERROR, log_to_driver=False, **local)
    except ConnectionError as error:
        fix = "Type 'ray start --head' on the head node, or compute.address=null for a local Ray."
        raise RequestError(Fault("compute.address", f"'{compute.address}' ({error})", "a running Ray cluster", fix)) from error


@contextmanager
def stderr_kept_unless_it_fails() -> Iterator[None]:
    """Ray's C++ side announces its own log level on file descriptor 2; what it says matters only where it fails."""
    kept = os.dup(2)
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        try:
            yield
        except BaseException:
            said.seek(0)
            os.write(kept, said.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def resources() -> dict[str, float]:
    """What the cluster has: CPU, GPU, ..."""
    return dict(ray.cluster_resources())  # type: ignore[no-untyped-call]


def uses_gpu(compute: Compute) -> bool:
    return compute.device != "cpu" and resources().get("GPU", 0) > 0


def check_resources(compute: Compute) -> None:
    """Raise RequestError where the cluster lacks what the workers need; Ray itself would wait for ever."""
    need = "GPU" if uses_gpu(compute) or compute.device == "cuda" else "CPU"
    have = int(resources().get(need, 0))
    if have < compute.workers:
        fix = f"Type compute.workers={have}, or add nodes." if have else "Type compute.device=cpu."
        raise RequestError(Fault("compute.workers", str(compute.workers), f"at most {have}, the {need}s of the Ray cluster", fix))


def unwrap(error: ray.train.TrainingFailedError) -> Exception:
    """The worker's own error where it is one of ours, else one that quotes it."""
    failures = [getattr(error, "controller_failure", None), *getattr(error, "worker_failures", {}).values()]
    return own_error(failures) or CvflowError(f"The Ray Train workers failed: {error}")


def own_error(failures: Iterable[Any]) -> CvflowError | None:
    """The first error of ours among failures; Ray wraps what a worker raises to keep its traceback."""
    causes = (getattr(failure, "_base_exc", failure) for failure in failures)
    return next((cause for cause in causes if isinstance(cause, CvflowError)), None)
