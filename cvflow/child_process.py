"""What a helper process does with signals, and when its parent is gone. Imports nothing heavy."""

from __future__ import annotations

import os
import signal
import threading
from multiprocessing import parent_process


def leave_ctrl_c_to_parent() -> None:
    """Ignore SIGINT: it goes to the whole process group, and the parent answers it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def obey_sigterm_of_parent_only() -> None:
    """End by SIGTERM only if the parent itself sends it: it may go to a whole process group as well.

    Torch's own handler ends a loader process whoever sent it, and the training with it, in the
    middle of a step.
    """
    if not hasattr(signal, "sigwaitinfo"):  # macOS
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    threading.Thread(target=_wait_for_sigterm_of, args=(os.getppid(),), daemon=True).start()


def _wait_for_sigterm_of(parent: int) -> None:
    while signal.sigwaitinfo([signal.SIGTERM]).si_pid != parent:
        pass
    os._exit(0)


def end_with_parent() -> None:
    """End this process with its parent.

    One that is killed outright cannot tell its children: they would wait for ever.
    """
    threading.Thread(target=_wait_for_end_of_parent, daemon=True).start()


def _wait_for_end_of_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
