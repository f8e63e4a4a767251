"""The MLflow UI on the project's store."""

from __future__ import annotations

import subprocess
import sys


def serve(port: int) -> int:
    """Run ``mlflow ui`` until interrupted; its exit status."""
    from cvflow.runtime.tracking_uri import tracking_uri, without_password

    uri = tracking_uri()
    sys.stderr.write(f"MLflow UI of {without_password(uri)}\nopen http://127.0.0.1:{port}  (Ctrl-C ends it)\n")
    if uri.startswith("http"):
        sys.stderr.write(f"the store is a server of its own: open {without_password(uri)}\n")
        return 0
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", uri, "--port", str(port)]
    try:
        return subprocess.run(command, check=False).returncode
    except KeyboardInterrupt:
        return 130
