"""The Ray cluster that a command works on: joined or started, and what it has.

The only module that calls ray.init.
"""

from __future__ import annotations

import atexit
import logging
import os
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import ray

from cvflow.config import Compute
from cvflow.errors import Fault, RequestError
from cvflow.runtime.cores import cores


def connect(compute: Compute, meanwhile: Sequence[str] = (), bare: bool = False) -> None:
    """Join the cluster of ``compute.address``, or start a local Ray that ends with this process.

    meanwhile: modules to import beside it, for Ray's start is mostly a wait for its daemons. bare:
    without worker processes that wait.
    """
    if bare:
        os.environ.setdefault("RAY_prestart_worker_first_driver", "0")
    with ThreadPoolExecutor(1, thread_name_prefix="imports") as beside:
        imports = [beside.submit(import_module, name) for name in meanwhile]
        if not ray.is_initialized():
            _start(compute)
    for done in imports:
        done.result()


def _start(compute: Compute) -> None:
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    local: dict[str, Any] = {} if compute.address else {"num_cpus": cores(), "include_dashboard": False}
    if local:
        os.environ.setdefault(
            "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0"
        )  # a process less to start; nobody drains this node
    # before Ray's own, which would wait for messages that nobody prints
    atexit.register(ray.shutdown)
    try:
        with stderr_kept_unless_it_fails():
            ray.init(
                address=compute.address or "local", logging_level=logging.ERROR, log_to_driver=False, **local
            )
    except ConnectionError as error:
        fix = "Type 'ray start --head' on the head node, or compute.address=null for a local Ray."
        raise RequestError(
            Fault("compute.address", f"'{compute.address}' ({error})", "a running Ray cluster", fix)
        ) from error


@contextmanager
def stderr_kept_unless_it_fails() -> Iterator[None]:
    """Ray's C++ side announces its own log level on file descriptor 2; what it says matters only
    where it fails.
    """
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as output:
        os.dup2(output.fileno(), 2)
        try:
            yield
        except BaseException:
            output.seek(0)
            os.write(stderr, output.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


def resources() -> dict[str, float]:
    """What the cluster has: CPU, GPU, ..."""
    return dict(ray.cluster_resources())  # type: ignore[no-untyped-call]


def uses_gpu(compute: Compute) -> bool:
    return compute.device != "cpu" and resources().get("GPU", 0) > 0


def check_resources(compute: Compute) -> None:
    """Raise RequestError where the cluster lacks what the workers need; Ray itself would wait for ever."""
    need = "GPU" if uses_gpu(compute) or compute.device == "cuda" else "CPU"
    have = int(resources().get(need, 0))
    if have < compute.least:
        fix = f"Type compute.workers={have}, or add nodes." if have else "Type compute.device=cpu."
        raise RequestError(
            Fault(
                "compute.workers", str(compute.least), f"at most {have}, the {need}s of the Ray cluster", fix
            )
        )
