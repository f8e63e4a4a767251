"""The MLflow UI on the project's store."""

from __future__ import annotations

import os
import sys


def serve(port: int) -> None:
    """Become ``mlflow ui`` (so that it gets every signal itself); returns only where the store has
    a server of its own.
    """
    from cvflow.runtime.tracking_uri import tracking_uri, without_password

    uri = tracking_uri()
    if uri.startswith("http"):
        sys.stderr.write(f"the store has a server of its own: open {without_password(uri)}\n")
        return
    sys.stderr.write(f"MLflow UI of {uri}\nopen http://127.0.0.1:{port}  (Ctrl-C ends it)\n")
    sys.stderr.flush()
    os.environ.setdefault(
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false"
    )  # seven processes that a tracking UI does not need
    os.execv(
        sys.executable,
        [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", uri, "--port", str(port)],
    )
