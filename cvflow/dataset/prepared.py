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
    """All that dataset.json says. shards: split -> its shards, in order."""

    info: DatasetInfo
    shards: Mapping[str, Sequence[Shard]]


def write_description(directory: Path, description: Description) -> None:
    shards = {split: [asdict(s) for s in shards] for split, shards in description.shards.items()}
    content = {"schema_version": SCHEMA_VERSION, **asdict(description.info), "shards": shards}
    (directory / FILE).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_description(directory: Path) -> Description:
    """Raises RequestError where there is none, or one that this cvflow cannot read."""
    path = directory / FILE
    if not path.is_file():
        raise RequestError(Fault(str(path), "no such file", "a prepared dataset", _AGAIN))
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        version = content.pop("schema_version")
        if version != SCHEMA_VERSION:
            raise RequestError(
                Fault(str(path), f"schema version {version}", f"version {SCHEMA_VERSION}", _AGAIN)
            )
        shards = {split: [Shard(**s) for s in entries] for split, entries in content.pop("shards").items()}
        return Description(read_info(content), shards)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RequestError(
            Fault(str(path), f"unreadable content ({error})", "what prepare writes", _AGAIN)
        ) from error


def read_info(content: Mapping[str, Any]) -> DatasetInfo:
    """A DatasetInfo from the JSON data that ``asdict`` of it gave."""
    tuples = {k: tuple(content[k]) for k in ("classes", "mean", "std")}
    return DatasetInfo(**{**content, **tuples})


class PreparedDataset:
    """A prepared dataset at ``path``."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._description = read_description(self.path)
        self.info = self._description.info

    def split(self, name: str) -> ShardReader:
        """The rows of a split; RequestError where it has none."""
        shards = self._description.shards.get(name, ())
        if not shards:
            filled = ", ".join(k for k, v in self._description.shards.items() if v)
            fix = "Type data.split.val or data.split.test above 0, or add records of that split."
            raise RequestError(
                Fault(f"{self.path / FILE} split '{name}'", "no rows", f"a filled split: {filled}", fix)
            )
        return ShardReader(self.path, shards)

    @cached_property
    def digest(self) -> str:
        """The digest that DVC gives this directory."""
        return directory_digest(self.path)


def directory_digest(path: str | os.PathLike[str]) -> str:
    """``<md5>.dir`` as DVC 3 computes it: over the JSON list of each file's md5 and relative path."""
    root = Path(path)
    files = sorted((p.relative_to(root).as_posix(), p) for p in root.rglob("*") if p.is_file())
    listing = [{"md5": _md5(file), "relpath": name} for name, file in files]
    return hashlib.md5(json.dumps(listing).encode(), usedforsecurity=False).hexdigest() + ".dir"


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
