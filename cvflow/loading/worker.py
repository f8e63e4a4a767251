"""How a loader process begins."""

from __future__ import annotations

from cvflow.child_process import leave_ctrl_c_to_parent, obey_sigterm_of_parent_only


def start(number: int) -> None:
    """Leave signals to the parent, for ``DataLoader(worker_init_fn=...)``.

    Torch's watchdog ends it with its parent.
    """
    leave_ctrl_c_to_parent()
    obey_sigterm_of_parent_only()
