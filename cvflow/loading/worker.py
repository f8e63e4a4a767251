"""What a loader process does with signals: those that go to a whole process group are its parent's to answer."""

from __future__ import annotations

import os
import signal
import threading


def start(number: int) -> None:
    """For ``DataLoader(worker_init_fn=...)``: Ctrl-C is ignored, and SIGTERM too, unless the parent itself sends it.

    Torch's own handler ends the process whoever sent it, and the training with it, in the middle of a step.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if not hasattr(signal, "sigwaitinfo"):  # macOS
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    threading.Thread(target=_obey_the_parent, args=(os.getppid(),), daemon=True).start()


def _obey_the_parent(parent: int) -> None:
    while signal.sigwaitinfo([signal.SIGTERM]).si_pid != parent:
        pass
    os._exit(0)
