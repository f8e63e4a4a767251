"""Registered models: versions found again by fingerprint, aliases, and a version's files.

Importing this costs nothing.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from cvflow.errors import Fault, RequestError, did_you_mean, one_of
from cvflow.runtime.logged_model import log_model
from cvflow.runtime.tracking_uri import FINGERPRINT, connect, database, locked, plain_errors
from cvflow.runtime.tracking_uri import tracking_uri as tracking_uri

METRIC = "metric."
DESCRIPTION = 5000
"""Characters that MLflow keeps of a version's description."""


@dataclass(frozen=True)
class VersionInfo:
    """A registered version. metrics: on its test data. created: ISO 8601, UTC."""

    name: str
    version: int
    aliases: tuple[str, ...]
    metrics: dict[str, float]
    tags: dict[str, str]
    run_id: str
    created: str


@plain_errors()
def register_version(
    model: str,
    run_id: str,
    model_dir: Path,
    fingerprint: str,
    tags: Mapping[str, str],
    metrics: Mapping[str, float],
    card: Path,
) -> int:
    """The version with this fingerprint, made where there is none; its tags are brought up to date,
    it is ``challenger``.

    card: Markdown; it goes with the model's files and with the run, and describes the version.
    """
    client = connect()
    tags_to_set = {
        **tags,
        **{f"{METRIC}{k}": repr(float(v)) for k, v in metrics.items()},
        FINGERPRINT: fingerprint,
    }
    with locked("registry"):
        found = client.search_model_versions(f"name = '{model}' and tags.`{FINGERPRINT}` = '{fingerprint}'")
        version = (
            int(found[0].version) if found else _create(client, model, run_id, model_dir, tags_to_set, card)
        )
    for key, value in tags_to_set.items() if found else ():
        if found[0].tags.get(key) != value:
            client.set_model_version_tag(model, str(version), key, value)
    client.update_model_version(model, str(version), described_by(card))
    client.log_artifact(run_id, str(card))
    client.set_registered_model_alias(model, "challenger", str(version))
    return version


def described_by(card: Path) -> str:
    """A version's description: the card, as much of it as MLflow takes."""
    text = card.read_text(encoding="utf-8")
    if len(text) <= DESCRIPTION:
        return text
    is_complete = (
        text[: DESCRIPTION - 100].rpartition("\n## ")[0] or text[: DESCRIPTION - 100]
    )  # no heading is cut in two
    return f"{is_complete.rstrip()}\n\nThe rest is in card.md, among the files of the run and of the model.\n"


def _create(client: Any, model: str, run_id: str, model_dir: Path, tags: dict[str, str], card: Path) -> int:
    """A new version. It is born with its tags: a kill leaves either none, or one that is found again."""
    logged = log_model(client, run_id, model_dir, card)
    if not client.search_registered_models(f"name = '{model}'"):
        client.create_registered_model(model)
    source = f"models:/{logged}"
    return int(
        client.create_model_version(
            model, source, run_id=run_id, tags=tags, model_id=logged, await_creation_for=0
        ).version
    )


@plain_errors()
def versions(model: str | None = None) -> list[VersionInfo]:
    """Every version of a model, or of all, newest first in each; none where nothing was registered."""
    if not store_exists(tracking_uri()):
        return []
    client = connect()
    models = _pages(client.search_registered_models, f"name = '{model}'" if model else None)
    return [
        _info(v, m.aliases)
        for m in models
        for v in sorted(_versions(client, m.name), key=lambda v: -int(v.version))
    ]


def _versions(client: Any, model: str) -> list[Any]:
    return _pages(client.search_model_versions, f"name = '{model}'")


def _pages(search: Any, query: str | None) -> list[Any]:
    found, token = [], None
    while True:
        page = search(filter_string=query, page_token=token)
        found += page
        token = page.token
        if not token:
            return found


def _info(version: Any, aliases: Mapping[str, Any]) -> VersionInfo:
    number = int(version.version)
    return VersionInfo(
        name=version.name,
        version=number,
        aliases=tuple(sorted(alias for alias, v in aliases.items() if int(v) == number)),
        metrics={k.removeprefix(METRIC): float(v) for k, v in version.tags.items() if k.startswith(METRIC)},
        tags=dict(version.tags),
        run_id=version.run_id or "",
        created=datetime.fromtimestamp(version.creation_timestamp / 1000, UTC).isoformat(timespec="seconds"),
    )


def champion(model: str) -> VersionInfo | None:
    """The version with the alias ``champion``, if any."""
    return next((v for v in versions(model) if "champion" in v.aliases), None)


@plain_errors()
def tag_version(model: str, version: int, tags: Mapping[str, str]) -> None:
    for key, value in tags.items():
        connect().set_model_version_tag(model, str(version), key, value)


def find_version(uri: str) -> VersionInfo:
    """The version behind ``models:/name@alias`` or ``models:/name/3``.

    Raises RequestError naming what there is.
    """
    parts = re.fullmatch(r"models:/([^/@]+)(?:@([^/@]+)|/(\d+))", uri)
    if parts is None:
        raise RequestError(
            Fault(
                "model",
                f"'{uri}'",
                "models:/NAME@ALIAS or models:/NAME/VERSION",
                "Type 'cvflow models' for names.",
            )
        )
    name, alias, number = parts.groups()
    found = versions(name)
    if not found:
        known = sorted({v.name for v in versions()})
        expected = (
            f"a registered model: {one_of(known)}" if known else "a registered model, and there is none yet"
        )
        raise RequestError(
            Fault(
                "model", f"'{name}'", expected, did_you_mean(name, known) or "Type 'cvflow models' for names."
            )
        )
    match = [v for v in found if (alias in v.aliases if alias else v.version == int(number))]
    if not match:
        known = sorted({a for v in found for a in v.aliases})
        named = (
            f"an alias ({', '.join(known)}) or a version "
            f"({', '.join(str(v.version) for v in reversed(found))}) of '{name}'"
        )
        raise RequestError(Fault("model", f"'{uri}'", named, did_you_mean(alias or "", known)))
    return match[0]


def exact_version(uri: str) -> str:
    """``name/3`` for a ``models:/`` URI; a ``runs:/`` URI is exact as it is."""
    if uri.startswith("runs:/"):
        return uri
    found = find_version(uri)
    return f"{found.name}/{found.version}"


@plain_errors()
def download(uri: str) -> Path:
    """The directory of a model's files for ``models:/name@alias``, ``models:/name/3`` or
    ``runs:/<id>/model``.

    Read in place where the artifact store is a local directory, else fetched once into ``.cvflow/models``.
    Raises RequestError where there is none such, or where it is not a model of cvflow's.
    """
    location = _location_of_run(uri) if uri.startswith("runs:/") else _location(find_version(uri))
    local = _local_path(location) or _fetch(location)
    found = sorted(local.glob("artifacts/*/model.json"))
    if not found:
        raise RequestError(
            Fault("model", f"'{uri}', kept at {location}", "the files of a model that cvflow registered")
        )
    return found[0].parent


def _location(version: VersionInfo) -> str:
    return str(connect().get_model_version_download_uri(version.name, str(version.version)))


def _location_of_run(uri: str) -> str:
    from mlflow.exceptions import MlflowException

    client, run_id = connect(), uri.removeprefix("runs:/").split("/")[0]
    try:
        outputs = client.get_run(run_id).outputs
    except MlflowException:
        raise RequestError(
            Fault("model", f"'{uri}'", "runs:/RUN_ID/model of a run", "Type 'cvflow ui' to see the runs.")
        ) from None
    if not outputs or not outputs.model_outputs:
        raise RequestError(
            Fault("model", f"'{uri}'", "a run with a registered model", "Type 'cvflow models' for those.")
        )
    return str(client.get_logged_model(outputs.model_outputs[-1].model_id).artifact_location)


def _local_path(location: str) -> Path | None:
    parts = urlsplit(location)
    return Path(unquote(parts.path)) if parts.scheme in ("", "file") else None


def _fetch(location: str) -> Path:
    """A remote directory's copy, complete or absent. A logged model never changes, so it is fetched once."""
    from mlflow.artifacts import download_artifacts

    key = hashlib.sha256(f"{tracking_uri()} {location}".encode()).hexdigest()[:32]
    target = Path(".cvflow/models").absolute() / key
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(dir=target.parent))
        try:
            got = download_artifacts(artifact_uri=location, dst_path=str(aside), tracking_uri=tracking_uri())
            if not target.exists():
                os.rename(got, target)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    return target


def store_exists(uri: str) -> bool:
    """False for a SQLite store not made yet, which a look must not make."""
    file = database(uri)
    return file is None or file.exists()
