"""A torchvision dataset opened split by split, by the words that its class has for them; what has no truth is passed over."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cvflow.annotations.image import ImageFault
from cvflow.errors import Fault, RequestError
from cvflow.formats.reading.torchvision_classes import OPTIONS, SPLIT_KEYS, dataset_class, parameters
from cvflow.formats.reading.torchvision_items import (
    IMAGES,
    SHAPES,
    Kind,
    described,
    files_of,
    first_of,
    kind_of,
    labels_of,
    lacks_truth,
)
from cvflow.types import Split

_WORDS: Mapping[Split, tuple[str, ...]] = {
    "train": ("train", "trainval"),
    "val": ("val", "valid", "validation"),
    "test": ("test",),
}
_PAGE = "https://pytorch.org/vision/stable/generated/torchvision.datasets.{}.html"


class Part(NamedTuple):
    """One split. files: of each item, where the dataset lists them. labels: of each, where items have classes."""

    split: Split | None
    items: Any
    kind: Kind
    files: Sequence[tuple[str, ...]]
    labels: Sequence[int]

    def order(self) -> Sequence[int]:
        """By file: some datasets list theirs as the disk has them."""
        return (
            sorted(range(len(self.items)), key=lambda i: self.files[i])
            if self.files
            else range(len(self.items))
        )

    def named(self) -> bool:
        """Whether an item may be called by its first file."""
        return len({paths[0] for paths in self.files}) == len(self.items)

    def in_folders(self) -> bool:
        """Whether pairs lie in several folders: one for each scene or sequence."""
        return len(IMAGES[self.kind]) > 1 and len({Path(paths[0]).parent for paths in self.files}) > 1


class Splits:
    """parts: what there is, of one kind. passed: (what, why) of splits that are not read. root: where the files lie.

    RequestError where the class, its options or its files are wrong, or its items fit nothing.
    """

    def __init__(self, name: str, source: Path | None, download: bool, options: Mapping[str, Any]) -> None:
        self.passed: list[tuple[str, str]] = []
        self.root, self.options = source, {**OPTIONS.get(name, {}), **options}
        self._name, self._class = name, dataset_class(name)
        self._accepted = parameters(self._class)
        if "root" in self._accepted:
            self._place(source, download)
        self.parts = [part for part in self._opened() if part]
        if not self.parts:
            raise RequestError(
                Fault("data.format.dataset", f"{name} with no split that has its truth", "one that has")
            )

    def _place(self, source: Path | None, download: bool) -> None:
        """Where the files are, or go."""
        if source is not None and download:
            got = "both a source, which is only read, and download"
            raise RequestError(
                Fault("data.format.download", got, "one of them", "Remove data.source to download.")
            )
        if source is None:
            self.root = self._cache(download)
            self.options["download"] = True
        self.options["root"] = str(self.root)

    def _cache(self, download: bool) -> Path:
        expected = f"the root of {self._name}"
        if "download" not in self._accepted:
            got = "nothing, and torchvision does not fetch it"
            raise RequestError(
                Fault("data.source", got, expected, f"Look at {_PAGE.format(self._name)} for where it is.")
            )
        if not download:
            raise RequestError(
                Fault(
                    "data.source",
                    "nothing",
                    expected,
                    "Type data.source=<its root>, or data.format.download=true.",
                )
            )
        import torch

        return Path(torch.hub.get_dir()).parent / "datasets"

    def _opened(self) -> list[Part | None]:
        """The splits that the class knows, by its signature."""
        if "train" in self._accepted and "train" not in self.options:
            return [self._part("train", train=True), self._part("test", train=False)]
        key = next((key for key in SPLIT_KEYS if key in self._accepted), None)
        if key is None or key in self.options:
            return [self._part(None)]
        return [self._by_word(split, key, words) for split, words in _WORDS.items()]

    def _by_word(self, split: Split, key: str, words: Sequence[str]) -> Part | None:
        """A split by the dataset's own word for it; one without its files, other than train, is passed over."""
        for word in words:
            try:
                return self._part(split, **{key: word})
            except _UnknownWordError:
                continue
            except _AbsentError as error:
                if split == "train":
                    raise
                self.passed.append(
                    (
                        f"{self._name}, {key} {word}",
                        f"its files are not there or do not go together: {error.__cause__}",
                    )
                )
                return None
        if split == "train":
            fix = f"Type 'data.format.options={{{key}: <one of them>}}'."
            raise RequestError(
                Fault(
                    "data.format.dataset",
                    f"{self._name}, whose splits have other names",
                    "train, val, test",
                    fix,
                )
            )
        return None

    def _part(self, to: Split | None, /, **chosen: Any) -> Part | None:
        """None where the items lack their truth."""
        items = self._items({**self.options, **chosen})
        what = ", ".join([self._name, *(f"{key} {word}" for key, word in chosen.items())])
        if not len(items):
            if to in ("val", "test"):
                self.passed.append((what, "no items"))
                return None
            raise RequestError(Fault("data.source", f"{what} with no items", "images"))
        probe = first_of(items, what)
        if lacks_truth(probe[1]):
            self.passed.append(
                (
                    what,
                    f"{len(items)} item{'s' * (len(items) != 1)} without truth, which its makers keep back",
                )
            )
            return None
        kind = kind_of(probe[1])
        if kind is None:
            expected = "; or ".join(f"{column} from {shape}" for column, shape in SHAPES.items())
            fix = "Set data.format.options, or a format that reads the files themselves: voc, image_mask, pairs."
            raise RequestError(
                Fault(
                    "data.format.dataset",
                    f"{self._name}, whose items are {described(probe[1])}",
                    expected,
                    fix,
                )
            )
        try:
            return Part(
                to,
                items,
                kind,
                files_of(items, len(IMAGES[kind]), probe),
                labels_of(items) if kind == "label" else (),
            )
        except ImageFault as error:
            raise RequestError(Fault("data.source", f"{what}: {error}", "a class for each item")) from error

    def _items(self, given: Mapping[str, Any]) -> Any:
        try:
            return self._class(**given)
        except shutil.Error:  # SBDataset moves what it fetched, and did so for the split before
            return self._items({**given, "download": False})
        except (TypeError, ModuleNotFoundError) as error:
            raise RequestError(
                Fault("data.format.options", f"{error}", f"what torchvision.datasets.{self._name} takes")
            ) from error
        except ValueError as error:
            kind = _UnknownWordError if str(error).startswith("Unknown value") else _AbsentError
            raise kind(self._not_there(error)) from error
        except FileNotFoundError as error:
            raise _AbsentError(self._not_there(error)) from error
        except (
            Exception
        ) as error:  # RuntimeError, OSError, EOFError, IndexError, ...: what damaged files lead to
            raise RequestError(self._not_there(error)) from error

    def _not_there(self, error: Exception) -> Fault:
        expected, page = f"the files of {self._name}", _PAGE.format(self._name)
        if self.options.get("download"):
            fix = f"Run it where the net is, or fetch the files by hand and type data.source=<their root>: {page}"
            return Fault("data.format.download", f"{error}", f"{expected}, to be put into {self.root}", fix)
        return Fault(
            "data.source", f"{self.root}: {error}", expected, f"Look at data.source, or download: {page}"
        )


class _AbsentError(RequestError):
    """The files of a split are not there, or do not go together."""


class _UnknownWordError(RequestError):
    """The dataset has another word for the split."""
