"""What becomes of a Ray training whose workers fail: a lost worker is replaced, what the work
itself raised ends it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import ray.exceptions
import ray.train

from cvflow.engine.history import History
from cvflow.engine.session import Point
from cvflow.errors import CvflowError
from cvflow.runtime.explain import LESS_MEMORY, OthersGoneError

MAX_FAILURES = 2
"""How often workers are replaced."""
KEPT = "The last checkpoint is kept: the same command goes on from there."


class Watch(ray.train.UserCallback):
    """Runs in the controller, on the driver's node: keeps what rank 0 reports, ends the run where
    trying again is of no use.
    """

    def __init__(self, history: Path | None, mailbox: Any) -> None:
        self.history, self.mailbox = history, mailbox
        self.failures = 0

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:
        if self.history is not None:
            History(self.history).append([Point(**point) for point in metrics[0]["points"]])

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        user_error = own_error(worker_exceptions.values())
        if user_error is not None:
            raise user_error  # in the controller, where nothing is retried
        self.failures += 1
        if self.failures <= MAX_FAILURES:
            self.mailbox.say.remote(
                f"{described(worker_exceptions)}; the workers are started again from the last checkpoint"
            )


def unwrap(error: ray.train.TrainingFailedError) -> Exception:
    """The worker's own error where it is one of ours, else one that says which were lost and how."""
    user_error = own_error(
        [getattr(error, "controller_failure", None), *getattr(error, "worker_failures", {}).values()]
    )
    if user_error is not None:
        return user_error
    failures = getattr(error, "worker_failures", {})
    if not failures:
        fate = _fate(getattr(error, "controller_failure", None))
        return CvflowError(
            f"a process of Ray Train's {fate}. {KEPT}" if fate else f"The Ray Train workers failed: {error}"
        )
    return CvflowError(
        f"{described(failures)}, after {MAX_FAILURES} times that workers were started again. {KEPT}"
    )


def own_error(failures: Iterable[Any]) -> CvflowError | None:
    """The first error of ours among failures; Ray wraps what a worker raises to keep its traceback."""
    causes = (getattr(failure, "_base_exc", failure) for failure in failures)
    return next((cause for cause in causes if isinstance(cause, CvflowError)), None)


def described(failures: Mapping[int, Any]) -> str:
    """What became of the ranks, the lost ones alone where there are some: ``rank 1 (process 12 on
    a) was lost: killed ...``.
    """
    causes = {rank: getattr(error, "_base_exc", error) for rank, error in sorted(failures.items())}
    lost = [
        f"rank {rank}{_where(error)} {_fate(error) or f'failed: {failures[rank]}'}"
        for rank, error in causes.items()
        if not isinstance(error, OthersGoneError)
    ]
    if lost:
        return "; ".join(lost)
    first = next(cause for cause in causes.values() if isinstance(cause, OthersGoneError))
    silent = [rank for rank in range(first.world_size) if rank not in causes]
    if first.waited:
        return (
            f"rank {_listed(silent)} did not answer for compute.hang_minutes: rank {_listed(causes)} waited"
        )
    return f"rank {_listed(causes)} lost the connection to the others ({first.text.splitlines()[0][:200]})"


def _fate(error: Any) -> str:
    """Of a worker that Ray lost; '' for any other."""
    cause = getattr(error, "health_check_failure", error)
    if isinstance(cause, ray.exceptions.OutOfMemoryError):
        return f"was killed, since the memory of its node ran out ({LESS_MEMORY.rstrip('.')})"
    if type(error).__name__ == "WorkerHealthCheckTimeoutError":
        return "did not answer for compute.hang_minutes"
    if isinstance(cause, ray.exceptions.RayError):
        return (
            "was lost: killed (SIGKILL, as by the kernel where memory ends), or crashed, or its node is gone"
        )
    return ""


def _listed(ranks: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(ranks))) or "none"


def _where(error: Any) -> str:
    """`` (process 12 on host a)``, as Ray describes the worker in its text."""
    pid, host = re.search(r"pid=(\d+)", str(error)), re.search(r"hostname='([^']*)'", str(error))
    return f" (process {pid.group(1)} on {host.group(1)})" if pid and host else ""
