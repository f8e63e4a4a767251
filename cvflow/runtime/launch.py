"""Runs work where the recipe's ``compute`` says: in this process, or on Ray Train workers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from cvflow.config import Compute
from cvflow.engine.checkpoint import CheckpointStore
from cvflow.engine.history import History
from cvflow.runtime.console import Console
from cvflow.runtime.interrupts import Interrupts


def launch(
    work: Callable[..., Any],
    compute: Compute,
    checkpoints: Path,
    history: Path | None = None,
    **arguments: Any,
) -> Any:
    """``work(session, **arguments)`` on every rank; gives rank 0's return value.

    Ctrl-C and SIGTERM ask it to stop.

    work: a module-level function; arguments and return value are plain data. checkpoints, history:
    absolute paths.
    """
    console = Console()
    if compute.workers:
        from cvflow.runtime.ray_train import fit  # ray is imported only where it runs

        return fit(work, compute, checkpoints, history, console, arguments)
    from cvflow.runtime.local import LocalSession

    with Interrupts() as interrupts:
        session = LocalSession(
            compute, CheckpointStore(checkpoints), History(history) if history else None, console, interrupts
        )
        return work(session, **arguments)
