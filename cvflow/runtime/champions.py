"""Who was champion, and when: the history that a registered model keeps as tags, and the way back."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from cvflow.errors import Fault, RequestError
from cvflow.runtime.model_registry import find_version, versions
from cvflow.runtime.tracking_uri import connect, locked, plain_errors

ALIAS = "champion"
TAG = "cvflow.champion."
LONGEST = 500
"""Characters of a reason that are kept: MLflow bounds its tags."""


@dataclass(frozen=True)
class Reign:
    """A version that became champion. since: ISO 8601, UTC, empty where it was made so outside
    cvflow. rollback: it came back.
    """

    version: int
    since: str
    why: str
    rollback: bool = False


@plain_errors()
def reigns(model: str) -> list[Reign]:
    """Every change of champion, oldest first; none where nothing was registered under the name."""
    return _reigns(connect(), model) if versions(model) else []


@plain_errors()
def crown(model: str, version: int, why: str) -> None:
    """Make the version champion. Raises RequestError where there is none such."""
    find_version(f"models:/{model}/{version}")
    client = connect()
    with locked("champion"):
        reign_list = _reigns(client, model)
        _crown(client, model, reign_list, Reign(version, _now(), why[:LONGEST]))


@plain_errors()
def roll_back(model: str) -> tuple[int, int]:
    """Make the former champion champion again; (the version that goes, the one that comes).

    RequestError where there was none.

    Done again, it goes on to the one before that. A version that was deleted since is passed over.
    """
    client = connect()
    with locked("champion"):
        goes, comes = former(model)
        _crown(
            client,
            model,
            _reigns(client, model),
            Reign(comes, _now(), f"rolled back from version {goes}", rollback=True),
        )
    return goes, comes


@plain_errors()
def former(model: str) -> tuple[int, int]:
    """(champion, the champion before it)."""
    here = {v.version for v in versions(model)} or {find_version(f"models:/{model}@{ALIAS}").version}
    line = succession(_reigns(connect(), model), here)
    if len(line) < 2:
        got = (
            f"'{model}', whose only champion was version {line[0]}"
            if line
            else f"'{model}', which never had a champion"
        )
        raise RequestError(
            Fault(
                "--rollback",
                got,
                "a model with a former champion",
                f"Type 'cvflow models {model}' for its history.",
            )
        )
    return line[-1], line[-2]


def succession(history: list[Reign], here: set[int]) -> list[int]:
    """The versions that a rollback goes through, the champion last; of those that are still here."""
    line: list[int] = []
    for reign in history:
        if reign.rollback:
            while line and line[-1] != reign.version:
                line.pop()
        elif not line or line[-1] != reign.version:
            line.append(reign.version)
    remaining = [version for version in line if version in here]
    return [version for i, version in enumerate(remaining) if i == 0 or remaining[i - 1] != version]


def _reigns(client: Any, model: str) -> list[Reign]:
    """What the tags say; and, where the alias was moved by other hands, the version that it names now."""
    registered = client.get_registered_model(model)
    recorded = [
        Reign(**json.loads(value)) for key, value in sorted(registered.tags.items()) if key.startswith(TAG)
    ]
    now = registered.aliases.get(ALIAS)
    if now is not None and (not recorded or recorded[-1].version != int(now)):
        recorded.append(Reign(int(now), "", "not by cvflow"))
    return recorded


def _crown(client: Any, model: str, reign_list: list[Reign], reign: Reign) -> None:
    """Move the alias, then write what is not among the tags yet; a kill between leaves a reign
    whose time is not known.
    """
    if reign_list and reign_list[-1].version == reign.version:
        return
    client.set_registered_model_alias(model, ALIAS, str(reign.version))
    for number, one in enumerate([*reign_list, reign]):
        if not one.since or one is reign:
            client.set_registered_model_tag(model, f"{TAG}{number:05d}", json.dumps(asdict(one)))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
