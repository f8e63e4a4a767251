"""The command line: parse, call one function, print. ``cvflow --help`` imports nothing heavy."""

from __future__ import annotations

import atexit
import gc
import os
import signal
import sys
from typing import NoReturn

from cvflow.errors import CvflowError, InterruptedRunError, RequestError
from cvflow.runtime.interrupts import SIGNALS, cut_short, raise_once, repeated

INTERRUPTED = InterruptedRunError.exit_code
SPINS = "3000"
"""How often a thread of a layer looks for work before it sleeps: OpenMP's own 300,000 slow every
other process, none at all makes each layer wait for its threads to be woken.
"""


def main() -> None:
    """Entry point: errors become messages and exit codes (0 done, 1 failed, 2 wrong request, 130
    interrupted).
    """
    atexit.register(
        gc.freeze
    )  # at the end nothing is searched for cycles: of torch, MLflow and Ray that takes a second or more
    for variable, value in {
        "DVC_NO_ANALYTICS": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        **({} if "OMP_WAIT_POLICY" in os.environ else {"GOMP_SPINCOUNT": SPINS}),
    }.items():
        os.environ.setdefault(variable, value)
    signal.signal(signal.SIGTERM, raise_once)
    if (
        signal.getsignal(signal.SIGINT) is signal.default_int_handler
    ):  # else it is ignored, as in a shell's background
        signal.signal(signal.SIGINT, raise_once)
    try:
        from cvflow.cli.app import app

        app(standalone_mode=True)
    except SystemExit as ended:
        if ended.code == INTERRUPTED:  # Typer's answer to Ctrl-C
            leave(INTERRUPTED, "interrupted\n")
        raise
    except CvflowError as error:
        leave(error.exit_code, message(error))
    except KeyboardInterrupt:
        leave(INTERRUPTED, "interrupted\n")
    except Exception as error:
        if cut_short():
            leave(INTERRUPTED, "interrupted\n")
        from cvflow.runtime.explain import explained

        explanation = explained(error)
        if explanation is None:
            raise
        leave(explanation.exit_code, message(explanation))


def leave(code: int, said: str) -> NoReturn:
    """Say it and exit; a further Ctrl-C does so at once: nothing is left to be saved."""
    for number in SIGNALS:
        signal.signal(number, lambda number, frame: None if repeated() else os._exit(code))
    sys.stderr.write(said)
    sys.exit(code)


def message(error: CvflowError) -> str:
    """The error as the user reads it: one line a fault."""
    faults = getattr(error, "faults", ()) if isinstance(error, RequestError) else ()
    if len(faults) < 2:
        return f"cvflow: {error}\n"
    return f"cvflow: {len(faults)} faults\n" + "".join(f"  - {fault}\n" for fault in faults)
