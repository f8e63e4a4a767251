"""Which format reads a source."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any, cast

from cvflow.errors import Fault, RequestError
from cvflow.formats.record import Format
from cvflow.registry import Component, build, check, get, names
from cvflow.types import Schema


def recognise(
    data: Path, where: str = "--data", options: Mapping[str, Any] | None = None, schema: Schema | None = None
) -> tuple[Component, Format]:
    """The first format that reads the data, with its options. options: what the user sets of them. where: what the data are called.

    schema: whose columns the records must have. Raises RequestError with the objections of the formats whose mark is there, else of all.
    """
    if not data.exists():
        raise RequestError(Fault(where, f"'{data}'", "a folder or file that exists"))
    objections: dict[bool, list[Fault]] = {True: [], False: []}
    formats = {name: cast(type[Format], get("format", name)) for name in names("format")}
    tried = {
        k: v
        for k, v in formats.items()
        if not v.built_in and (needed(schema) <= v.gives if schema else not v.only_asked)
    }
    for name, builder in tried.items():
        guessed = builder.guess(data)
        if guessed is None:
            continue
        component = Component(name=name, **{**guessed, **(options or {})})
        try:
            reader = read_as(component, data)
            lacks = lacking(columns_in(reader), schema) if schema else ()
            if not lacks:
                return component, reader
            objections[builder.by_mark].append(
                Fault(where, f"'{data}', in which {name} finds no {' nor '.join(sorted(lacks))}", "it")
            )
        except RequestError as error:
            objections[builder.by_mark] += error.faults
    nothing = Fault(where, f"'{data}'", f"data in one of the formats {', '.join(tried)}")
    raise RequestError(*objections[True] or objections[False] or [nothing])


def needed(schema: Schema) -> frozenset[str]:
    """The annotations that every row must have."""
    return frozenset(schema.annotations) - frozenset(schema.defaults)


def columns_in(reader: Format) -> frozenset[str]:
    """The images and annotations of the first record; empty where there is none."""
    return frozenset(
        name
        for record in islice(reader, 1)
        for part in (record.images, record.annotation, record.maps)
        for name in part
    )


def lacking(columns: frozenset[str], schema: Schema) -> frozenset[str]:
    """What of the columns every row must have; nothing where there is no record to tell by."""
    return (frozenset(schema.images) | needed(schema)) - columns if columns else frozenset()


def read_as(component: Component, data: Path) -> Format:
    """The reader of a format that is known, its options checked."""
    if faults := check("format", component, "data.format")[1]:
        raise RequestError(*faults)
    reader: Format = build("format", component, data)
    return reader
