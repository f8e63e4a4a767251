"""The command line: parse, call one function, print. ``cvflow --help`` imports nothing heavy."""

from __future__ import annotations

import os
import signal
import sys
from typing import NoReturn

from cvflow.errors import CvflowError, RequestError


def main() -> None:
    """Entry point: errors become messages and exit codes (0 done, 1 failed, 2 wrong request, 130 interrupted)."""
    for variable, value in {
        "DVC_NO_ANALYTICS": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "OMP_WAIT_POLICY": "passive",  # waiting threads that spin slow every other process on the machine
    }.items():
        os.environ.setdefault(variable, value)
    from cvflow.cli.app import app

    signal.signal(signal.SIGTERM, lambda number, frame: signal.raise_signal(signal.SIGINT))  # as Ctrl-C
    try:
        app(standalone_mode=True)
    except CvflowError as error:
        sys.stderr.write(message(error))
        leave(error.exit_code)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        leave(130)
    except Exception as error:
        from cvflow.runtime.explain import explained

        known = explained(error)
        if known is None:
            raise
        sys.stderr.write(message(known))
        leave(known.exit_code)


def leave(code: int) -> NoReturn:
    """Exit; a further Ctrl-C does so at once: nothing is left to be saved."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: os._exit(code))
    sys.exit(code)


def message(error: CvflowError) -> str:
    """The error as the user reads it: one line a fault."""
    faults = getattr(error, "faults", ()) if isinstance(error, RequestError) else ()
    if len(faults) < 2:
        return f"cvflow: {error}\n"
    return f"cvflow: {len(faults)} faults\n" + "".join(f"  - {fault}\n" for fault in faults)
