"""The prepared dataset: a directory of shards, described by its dataset.json."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from cvflow.dataset.shards import Shard, ShardReader
from cvflow.errors import Fault, RequestError
from cvflow.types import DatasetInfo

FILE = "dataset.json"
SCHEMA_VERSION = 2
_AGAIN = "Run prepare again: dvc repro -f prepare@<run>."


@dataclass(frozen=True)
class Description:
    """Everything in dataset.json. shards: split -> its shards, in order."""

    info: DatasetInfo
    shards: Mapping[str, Sequence[Shard]]


def write_description(directory: Path, description: Description) -> None:
    """Write dataset.json into the directory."""
    shards = {}
    for split, split_shards in description.shards.items():
        shards[split] = list(map(asdict, split_shards))
    content = {
        "schema_version": SCHEMA_VERSION,
        **asdict(description.info),
        "shards": shards,
    }
    text = json.dumps(content, indent=1, ensure_ascii=False)
    (directory / FILE).write_text(f"{text}\n", encoding="utf-8")


def read_description(directory: Path) -> Description:
    """Return what dataset.json says.

    Raises RequestError if there is none, or one that this version of cvflow cannot read.
    """
    path = directory / FILE
    if not path.is_file():
        raise RequestError(Fault(str(path), "no such file", "a prepared dataset", _AGAIN))
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        version = content.pop("schema_version")
        if version != SCHEMA_VERSION:
            expected = f"version {SCHEMA_VERSION}"
            raise RequestError(Fault(str(path), f"schema version {version}", expected, _AGAIN))
        shards = {}
        for split, entries in content.pop("shards").items():
            shards[split] = [Shard(**entry) for entry in entries]
        return Description(read_info(content), shards)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        # JSON of another shape raises any of these, depending on what is missing.
        got = f"unreadable content ({error})"
        raise RequestError(Fault(str(path), got, "what prepare writes", _AGAIN)) from error


def read_info(content: Mapping[str, Any]) -> DatasetInfo:
    """Return the DatasetInfo whose ``asdict`` gave this JSON data."""
    # JSON has lists where the dataclass has tuples.
    fields = dict(content)
    for name in ("classes", "mean", "std"):
        fields[name] = tuple(content[name])
    return DatasetInfo(**fields)


class PreparedDataset:
    """A prepared dataset at ``path``."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._description = read_description(self.path)
        self.info = self._description.info

    def split(self, name: str) -> ShardReader:
        """Return the rows of a split. Raises RequestError if it has none."""
        shards = self._description.shards.get(name, ())
        if shards:
            return ShardReader(self.path, shards)
        filled = [split for split, shards in self._description.shards.items() if shards]
        fault = Fault(
            f"{self.path / FILE} split '{name}'",
            "no rows",
            f"a filled split: {', '.join(filled)}",
            "Type data.split.val or data.split.test above 0, or add records of that split.",
        )
        raise RequestError(fault)

    @cached_property
    def digest(self) -> str:
        """The digest that DVC gives this directory."""
        return directory_digest(self.path)


def directory_digest(path: str | os.PathLike[str]) -> str:
    """Return ``<md5>.dir`` as DVC 3 computes it: over the JSON list of each file's md5 and relative path."""
    root = Path(path)
    files: dict[str, Path] = {}
    for file in root.rglob("*"):
        if file.is_file():
            name = file.relative_to(root).as_posix()
            files[name] = file
    listing = [{"md5": _md5(files[name]), "relpath": name} for name in sorted(files)]
    content = json.dumps(listing).encode()
    return hashlib.md5(content, usedforsecurity=False).hexdigest() + ".dir"


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False))
    return digest.hexdigest()
