"""Which format reads a source: the surest one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, cast

from cvflow.errors import Fault, RequestError
from cvflow.formats.record import Confidence, Format, Guess
from cvflow.registry import Component, build, check, get, names
from cvflow.types import Schema

LISTED = 6
"""Names that a message lists of what lies in a folder."""


class Candidate(NamedTuple):
    """A format and what it makes of the source."""

    name: str
    format: type[Format]
    guess: Guess


def recognise(
    data: Path, where: str = "--data", options: Mapping[str, Any] | None = None, schema: Schema | None = None
) -> tuple[Component, Format]:
    """Return the surest format that reads the data, with its options.

    Of equally sure ones the first by name is tried first. options: what the user sets of them.
    where: what the data are called. schema: whose columns the records must have. RequestError with
    the objections of the surest formats; if no format finds its layout, with what each of them
    looked for.
    """
    if not data.exists():
        raise RequestError(Fault(where, f"'{data}'", "a folder or file that exists"))
    candidates = guesses(data, schema)
    objections: dict[Confidence, list[Fault]] = {}
    for candidate in candidates:
        confidence = candidate.guess.confidence
        if confidence == Confidence.NONE:
            continue
        component = Component(name=candidate.name, **{**candidate.guess.options, **(options or {})})
        try:
            return component, _read_whole(component, data, where, schema)
        except RequestError as error:
            objections.setdefault(confidence, []).extend(error.faults)
    if objections:
        raise RequestError(*objections[max(objections)])
    raise RequestError(*nothing_found(data, where, candidates))


def _read_whole(component: Component, data: Path, where: str, schema: Schema | None) -> Format:
    """Return the reader. RequestError if its records lack what the schema needs."""
    reader = read_as(component, data)
    missing = lacking(columns_in(reader), schema) if schema else frozenset()
    if missing:
        got = f"'{data}', in which {component.name} finds no {' nor '.join(sorted(missing))}"
        raise RequestError(Fault(where, got, "it"))
    return reader


def guesses(data: Path, schema: Schema | None) -> list[Candidate]:
    """Return what each format that may give such records makes of the data: the surest first, then
    by name.
    """
    candidates = []
    for name in names("format"):
        format = cast(type[Format], get("format", name))
        if format.built_in:
            continue
        is_asked = needed(schema) <= format.gives if schema else not format.only_asked
        if is_asked:
            candidates.append(Candidate(name, format, format.guess(data)))
    return sorted(candidates, key=lambda candidate: -candidate.guess.confidence)


def is_recognised(data: Path, schema: Schema) -> bool:
    """Return whether a format finds its layout in the data, with what the schema needs, even if it
    then objects to something.

    The surest ones are asked: a mark of a format's own says more than a layout that several have.
    """
    candidates = guesses(data, schema)
    surest = max((candidate.guess.confidence for candidate in candidates), default=Confidence.NONE)
    for candidate in candidates:
        if candidate.guess.confidence < max(surest, Confidence.LIKELY):
            continue
        try:
            reader = read_as(Component(name=candidate.name, **candidate.guess.options), data)
        except RequestError:
            return True
        if not lacking(columns_in(reader), schema):
            return True
    return False


def nothing_found(data: Path, where: str, candidates: list[Candidate]) -> list[Fault]:
    """Return the faults if no format is sure: near misses, or else all that was looked for."""
    near = [candidate for candidate in candidates if candidate.guess.near_miss]
    if near:
        return [_near_miss(data, where, candidate) for candidate in near]
    layouts = [
        f"{candidate.name}: {candidate.format.looks_for}"
        for candidate in candidates
        if candidate.format.looks_for
    ]
    got = f"'{data}', which holds {contents(data)}"
    fix = "Arrange it so, or name the format and its options; docs/your-images.md shows each."
    return [Fault(where, got, f"one of these layouts: {'; '.join(layouts)}", fix)]


def _near_miss(data: Path, where: str, candidate: Candidate) -> Fault:
    expected = f"for {candidate.name}, {candidate.format.looks_for}"
    return Fault(where, f"'{data}': {candidate.guess.near_miss}", expected)


def contents(data: Path) -> str:
    """Return what lies in a folder, in a few words: its folders, and how many files of each suffix."""
    if data.is_file():
        return f"a file {data.suffix or 'without a suffix'}"
    entries = sorted(path for path in data.iterdir() if not path.name.startswith("."))
    folders = [path.name for path in entries if path.is_dir()]
    suffixes = Counter(path.suffix.lower() or path.name for path in entries if path.is_file())
    parts = []
    if folders:
        more = f" and {len(folders) - LISTED} more" if len(folders) > LISTED else ""
        parts.append(f"the folders {', '.join(folders[:LISTED])}{more}")
    parts += [f"{count} {suffix}" for suffix, count in suffixes.most_common(LISTED)]
    return ", ".join(parts) or "nothing"


def needed(schema: Schema) -> frozenset[str]:
    """Return the annotations that every row must have."""
    return frozenset(schema.annotations) - frozenset(schema.defaults)


def columns_in(reader: Format) -> frozenset[str]:
    """Return the images and annotations of the first record; empty if there is none."""
    columns: set[str] = set()
    for record in islice(reader, 1):
        columns |= {*record.images, *record.annotation, *record.maps}
    return frozenset(columns)


def lacking(columns: frozenset[str], schema: Schema) -> frozenset[str]:
    """Return which needed columns are not among these; nothing if there is no record to tell by."""
    if not columns:
        return frozenset()
    return (frozenset(schema.images) | needed(schema)) - columns


def read_as(component: Component, data: Path) -> Format:
    """Return the reader of a named format. RequestError if its options are wrong."""
    if faults := check("format", component, "data.format")[1]:
        raise RequestError(*faults)
    reader: Format = build("format", component, data)
    return reader
