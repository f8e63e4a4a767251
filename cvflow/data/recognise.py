"""Which format reads a source."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from cvflow.data.records import Format
from cvflow.errors import Fault, RequestError
from cvflow.registry import Component, build, get, names


def recognise(data: Path) -> tuple[Component, Format]:
    """The first format that reads the data, with its options. Raises RequestError with each format's objection."""
    if not data.exists():
        raise RequestError(Fault("--data", f"'{data}'", "a folder or file that exists"))
    faults: list[Fault] = []
    for name in names("format"):
        builder = cast(type[Format], get("format", name))
        options = None if builder.built_in else builder.guess(data)
        if options is None:
            continue
        component = Component(name=name, **options)
        try:
            reader: Format = build("format", component, data)
            return component, reader
        except RequestError as error:
            faults += error.faults
    raise RequestError(*faults or [Fault("--data", f"'{data}'", f"data in one of the formats {', '.join(names('format'))}")])
