"""A light look into the registry: for a local store without importing MLflow."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from cvflow.runtime.model_registry import champion, store_exists, versions
from cvflow.runtime.tracking_uri import FINGERPRINT, database
from cvflow.runtime.tracking_uri import tracking_uri as tracking_uri


def holds(uri: str, model: str, version: int, fingerprint: str) -> bool:
    """Whether the store at ``uri`` has the version with the fingerprint: a light look, without
    mlflow for SQLite.
    """
    if not store_exists(uri):
        return False
    file = database(uri)
    if file is not None:
        try:
            return _row_exists(file, model, version, fingerprint)
        except sqlite3.Error:
            pass  # another schema than the one known here: MLflow itself must look
    return any(v.version == version and v.tags.get(FINGERPRINT) == fingerprint for v in versions(model))


def _row_exists(file: Path, model: str, version: int, fingerprint: str) -> bool:
    query = """
        SELECT 1 FROM model_versions v JOIN model_version_tags t ON t.name = v.name AND t.version = v.version
        WHERE v.name = ? AND v.version = ? AND t.key = ? AND t.value = ?
  AND v.current_stage != 'Deleted_Internal'
    """
    with closing(sqlite3.connect(f"file:{quote(str(file))}?mode=ro", uri=True)) as connection:
        return connection.execute(query, (model, version, FINGERPRINT, fingerprint)).fetchone() is not None


def champion_version(uri: str, model: str) -> int | None:
    """The version that has the alias ``champion``: a light look too."""
    file = database(uri)
    if file is not None and file.exists():
        query = "SELECT version FROM registered_model_aliases WHERE name = ? AND alias = 'champion'"
        try:
            with closing(sqlite3.connect(f"file:{quote(str(file))}?mode=ro", uri=True)) as connection:
                row = connection.execute(query, (model,)).fetchone()
                return int(row[0]) if row else None
        except sqlite3.Error:
            pass
    found = champion(model)
    return found.version if found else None
