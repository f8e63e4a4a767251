"""Recipe files as layers: YAML with line numbers, ``extends``, overrides, and where each value came from."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from cvflow.config import merge
from cvflow.errors import Fault, RequestError

PATH_KEYS = ("data.source", "model.weights", "plugins", "compute.storage")
"""Recipe keys that hold paths, relative to the file they stand in."""


@dataclass(frozen=True)
class Layer:
    """One source of values. lines: dotted key -> where it stands, as ``digits.yaml:7``."""

    path: Path | None
    data: dict[str, Any]
    lines: Mapping[str, str]


@dataclass(frozen=True)
class Layered:
    """The merged recipe and the layers it came from, lowest first."""

    layers: Sequence[Layer]

    @property
    def data(self) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        for layer in self.layers:
            merged = merge(merged, layer.data)
        return merged

    @cached_property
    def places(self) -> dict[str, tuple[str, bool]]:
        """dotted key -> (where its value comes from, whether a mapping stands there), as merging
        left them.
        """
        merged: dict[str, Any] = {}
        places: dict[str, tuple[str, bool]] = {}
        for layer in self.layers:
            merged = merge(merged, layer.data)
            new = {key: (line, isinstance(_at(layer.data, key), dict)) for key, line in layer.lines.items()}
            replaced = tuple(f"{key}." for key, (_, mapping) in new.items() if not mapping)
            remaining = {key: place for key, place in places.items() if not key.startswith(replaced)}
            places = {
                key: place for key, place in {**remaining, **new}.items() if _at(merged, key) is not _ABSENT
            }
        return places

    def where(self, dotted: str) -> str:
        """The file and line (or 'override') of the nearest key at or above ``dotted``; else the
        file that the user named.
        """
        parts = dotted.split(".")
        above = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
        file = next((str(layer.path) for layer in reversed(self.layers) if layer.path), "")
        return next((self.places[key][0] for key in above if key in self.places), file)

    def source(self, dotted: str) -> str:
        """Where a leaf's value came from, or 'default'."""
        # a component may stand in its short form
        for key in (dotted, dotted.removesuffix(".name")):
            line, mapping = self.places.get(key, ("", True))
            if not mapping or (line and key == dotted):
                return line
        return "default"


_ABSENT = object()


def _at(data: Any, dotted: str) -> Any:
    """The value at a dotted key, or _ABSENT."""
    for key in dotted.split("."):
        if isinstance(data, list) and key.isdigit() and int(key) < len(data):
            data = data[int(key)]
        elif isinstance(data, dict) and key in data:
            data = data[key]
        else:
            return _ABSENT
    return data


def load(path: Path, overrides: Mapping[str, Any]) -> Layered:
    """The recipe file over what it extends, and the overrides on top. Raises RequestError on unreadable YAML.

    Of overrides a component's name comes before its options, in whatever order they were typed.
    """
    nested: dict[str, Any] = {}
    for key, value in sorted(overrides.items(), key=lambda item: item[0].count(".")):
        nested = merge(nested, nest(key.split("."), value))
    top = Layer(None, nested, dict.fromkeys(_keys_above(overrides), "override"))
    return Layered([*_chain(path, ()), top])


def _keys_above(overrides: Mapping[str, Any]) -> Iterator[str]:
    for key, value in overrides.items():
        yield key
        inner = dict(enumerate(value)) if isinstance(value, list) else value
        if isinstance(inner, dict):
            yield from _keys_above({f"{key}.{part}": item for part, item in inner.items()})


def nest(parts: list[str], value: Any) -> dict[str, Any]:
    return {parts[0]: nest(parts[1:], value) if len(parts) > 1 else value}


def _chain(path: Path, below: tuple[Path, ...]) -> list[Layer]:
    layer = read_layer(path)
    parent = layer.data.pop("extends", None)
    if parent is None:
        return [layer]
    where = f"{layer.lines.get('extends', path)} extends"
    parent_path = Path(os.path.normpath(path.parent / str(parent)))
    if parent_path in (*below, path):
        raise RequestError(Fault(where, f"'{parent}'", "a recipe that does not extend this one again"))
    if not parent_path.is_file():
        raise RequestError(Fault(where, f"'{parent}'", f"a recipe file; there is no {parent_path}"))
    return [*_chain(parent_path, (*below, path)), layer]


def read_layer(path: Path) -> Layer:
    """One YAML file, its paths made relative to the working directory."""
    try:
        loader = yaml.SafeLoader(path.read_text(encoding="utf-8"))
        node = loader.get_single_node()
        lines = {key: f"{path}:{line}" for key, line in _lines(node, "", str(path))}
        data = loader.construct_document(node) if node is not None else {}
    except (yaml.reader.ReaderError, UnicodeDecodeError) as error:
        raise RequestError(Fault(str(path), "bytes that are not text", "a recipe in YAML")) from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise RequestError(
            Fault(where, getattr(error, "problem", None) or str(error), "YAML", "Look at the indentation.")
        ) from error
    if not isinstance(data, dict):
        raise RequestError(Fault(str(path), f"a {type(data).__name__}", "a mapping"))
    for key in PATH_KEYS:
        _rebase(data, key.split("."), path.parent)
    return Layer(path, data, lines)


def _lines(node: yaml.Node | None, prefix: str, file: str) -> Iterator[tuple[str, int]]:
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            dotted = f"{prefix}{key.value}"
            if dotted in seen:
                raise RequestError(
                    Fault(f"{file}:{key.start_mark.line + 1} {dotted}", "the key twice", "each key once")
                )
            seen.add(dotted)
            yield dotted, key.start_mark.line + 1
            yield from _lines(value, dotted + ".", file)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield f"{prefix}{index}", value.start_mark.line + 1
            yield from _lines(value, f"{prefix}{index}.", file)


def _rebase(data: Any, keys: list[str], folder: Path) -> None:
    """Rewrite a path of the file's as relative to the working directory (absolute ones stay)."""
    for key in keys[:-1]:
        data = data.get(key) if isinstance(data, dict) else None
    if isinstance(data, dict) and isinstance(data.get(keys[-1]), (str, list)):
        value = data[keys[-1]]
        items = [value] if isinstance(value, str) else value
        moved = [
            os.path.normpath(folder / item) if isinstance(item, str) else item for item in items
        ]  # what is no path is refused later
        data[keys[-1]] = moved[0] if isinstance(value, str) else moved


def leaves(data: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, value) for each value that is not a mapping; lists of mappings are entered by index."""
    if isinstance(data, dict) and data:
        for key, value in data.items():
            yield from leaves(value, f"{prefix}{key}.")
    elif isinstance(data, list) and any(isinstance(item, dict) for item in data):
        for index, item in enumerate(data):
            yield from leaves(item, f"{prefix}{index}.")
    else:
        yield prefix.rstrip("."), data
