"""The refusal that all built-in formats share: they take no source."""

from __future__ import annotations

from pathlib import Path

from cvflow.errors import Fault, RequestError


def refuse_source(source: Path | None, things: str) -> None:
    """Raise RequestError if there is a source. things: what the format makes, such as "scenes"."""
    if source is None:
        return
    expected = f"no source: the {things} are built in"
    raise RequestError(Fault("data.source", str(source), expected, "Remove data.source."))
