"""Where MLflow is, and the one client that speaks to it.

Importing this costs nothing: mlflow comes with the first client.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from cvflow.errors import CvflowError

if TYPE_CHECKING:
    from mlflow import MlflowClient

SQLITE = "sqlite:///"
FINGERPRINT = "cvflow.fingerprint"
"""The tag by which runs and versions are found again."""

SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # MLflow's own 7 keep a caller waiting for minutes
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}
"""Environment variables of MLflow, set where the user has not."""


def tracking_uri() -> str:
    """``MLFLOW_TRACKING_URI``, else ``mlflow.db`` in the current directory; a SQLite path is made
    absolute.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI") or f"{SQLITE}mlflow.db"
    return SQLITE + str(Path(uri.removeprefix(SQLITE)).absolute()) if uri.startswith(SQLITE) else uri


def database(uri: str) -> Path | None:
    """The file of a SQLite store, which may be absent still; None for a server."""
    return Path(unquote(uri.removeprefix(SQLITE))) if uri.startswith(SQLITE) else None


def artifact_location(uri: str) -> str | None:
    """Where a new experiment keeps its files: ``mlartifacts`` beside the database; None where a
    server decides.
    """
    file = database(uri)
    return (file.parent / "mlartifacts").as_uri() if file else None


def connect() -> MlflowClient:
    """A client of the store, whose tables exist.

    Names its URIs, so MLflow's process-wide ones are left alone.
    """
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient

    logging.getLogger("mlflow").setLevel(
        logging.WARNING
    )  # its INFO lines (and with them Alembic's) are no news to a user
    uri = tracking_uri()
    with locked("schema"):  # two processes that both create the tables break each other
        file = database(uri)
        if file is not None and not (file.exists() and file.stat().st_size):
            _create(file)
        return MlflowClient(tracking_uri=uri, registry_uri=uri)


def _create(file: Path) -> None:
    """Make the tables aside, then rename: killed halfway, MLflow leaves a file that it never mends."""
    from mlflow import MlflowClient

    aside = file.with_name(file.name + ".new")
    aside.unlink(missing_ok=True)
    MlflowClient(tracking_uri=f"{SQLITE}{aside}")
    os.replace(aside, file)


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Only one process of this project at a time is inside; a lock ends with its process. Not reentrant."""
    file = database(tracking_uri())
    folder = (file.parent if file else Path.cwd()) / ".cvflow"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"mlflow-{name}.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@contextmanager
def plain_errors() -> Iterator[None]:
    """MLflow's errors as one line that names the store. Also a decorator."""
    try:
        yield
    except _mlflow_errors() as error:
        raise CvflowError(f"MLflow at {without_password(tracking_uri())}: {first_line(error)}") from error


def _mlflow_errors() -> tuple[type[Exception], ...]:
    """Asked only when something is raised."""
    from mlflow.exceptions import MlflowException

    # a file that is no database, before MLflow wraps anything
    from sqlalchemy.exc import SQLAlchemyError

    return MlflowException, SQLAlchemyError


def without_password(text: str) -> str:
    """The text with ``user:password@`` left out of its URLs."""
    return re.sub(r"//[^/@\s]*@", "//", text)


def first_line(error: BaseException) -> str:
    """The first line of an error, without passwords, shortened to what fits two lines of a terminal."""
    line = without_password((str(error).splitlines() or [type(error).__name__])[0])
    return line if len(line) <= 160 else line[:157] + "..."
