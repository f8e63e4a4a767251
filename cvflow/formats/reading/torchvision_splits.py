"""A torchvision dataset opened split by split, by the class's own words for them."""

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
    """One split. files: of each item, if the dataset lists them. labels: of each, if items have classes."""

    split: Split | None
    items: Any
    kind: Kind
    files: Sequence[tuple[str, ...]]
    labels: Sequence[int]

    def order(self) -> Sequence[int]:
        """Return the items by file: some datasets list theirs as the disk has them."""
        numbers = range(len(self.items))
        if not self.files:
            return numbers
        return sorted(numbers, key=self.files.__getitem__)

    def named(self) -> bool:
        """Return whether every item has a first file of its own, which can be its name."""
        first_files = {paths[0] for paths in self.files}
        count = len(self.items)
        return len(first_files) == count

    def in_folders(self) -> bool:
        """Return whether pairs lie in several folders: one for each scene or sequence."""
        if len(IMAGES[self.kind]) < 2:
            return False
        folders = {Path(paths[0]).parent for paths in self.files}
        return len(folders) > 1


class Splits:
    """The splits of a dataset.

    parts: the splits that can be read, all of one kind. passed: (what, why) of those that are not
    read. root: where the files lie. RequestError if the class, its options or its files are wrong, or
    its items are of no kind.
    """

    def __init__(self, name: str, source: Path | None, download: bool, options: Mapping[str, Any]) -> None:
        self.passed: list[tuple[str, str]] = []
        self.root = source
        self.options = {**OPTIONS.get(name, {}), **options}
        self._name = name
        self._class = dataset_class(name)
        self._parameters = parameters(self._class)
        if "root" in self._parameters:
            self._set_root(source, download)
        self.parts = [part for part in self._opened() if part]
        if not self.parts:
            got = f"{name} with no split that has its truth"
            raise RequestError(Fault("data.format.dataset", got, "one that has"))

    def _set_root(self, source: Path | None, download: bool) -> None:
        if source is not None and download:
            got = "both a source, which is only read, and download"
            fix = "Remove data.source to download."
            raise RequestError(Fault("data.format.download", got, "one of them", fix))
        if source is None:
            self.root = self._cache(download)
            self.options["download"] = True
        self.options["root"] = str(self.root)

    def _cache(self, download: bool) -> Path:
        """Return the folder for downloads; RequestError if there is no download."""
        expected = f"the root of {self._name}"
        if "download" not in self._parameters:
            got = "nothing, and torchvision does not fetch it"
            fix = f"Look at {_PAGE.format(self._name)} for where it is."
            raise RequestError(Fault("data.source", got, expected, fix))
        if not download:
            fix = "Type data.source=<its root>, or data.format.download=true."
            raise RequestError(Fault("data.source", "nothing", expected, fix))
        # Imported here, because it takes seconds and a source needs none of it.
        import torch

        return Path(torch.hub.get_dir()).parent / "datasets"

    def _opened(self) -> list[Part | None]:
        """Return the splits that the class has, by its signature."""
        if "train" in self._parameters and "train" not in self.options:
            return [
                self._part("train", train=True),
                self._part("test", train=False),
            ]
        keys = [key for key in SPLIT_KEYS if key in self._parameters]
        if not keys or keys[0] in self.options:
            return [self._part(None)]
        key = keys[0]
        return [self._by_word(split, key) for split in _WORDS]

    def _by_word(self, split: Split, key: str) -> Part | None:
        """Return a split by the dataset's own word for it; None if it is passed over.

        A split other than train may be missing, or be without its files.
        """
        for word in _WORDS[split]:
            try:
                return self._part(split, **{key: word})
            except _UnknownWordError:
                continue
            except _AbsentError as error:
                if split == "train":
                    raise
                why = f"its files are not there or do not go together: {error.__cause__}"
                self.passed.append((f"{self._name}, {key} {word}", why))
                return None
        if split != "train":
            return None
        got = f"{self._name}, whose splits have other names"
        fix = f"Type 'data.format.options={{{key}: <one of them>}}'."
        raise RequestError(Fault("data.format.dataset", got, "train, val, test", fix))

    def _part(self, split: Split | None, /, **chosen: Any) -> Part | None:
        """Return a split, None if it is passed over. chosen: the options that open it."""
        items = self._items({**self.options, **chosen})
        what = self._described(chosen)
        if not len(items):
            if split not in ("val", "test"):
                raise RequestError(Fault("data.source", f"{what} with no items", "images"))
            self.passed.append((what, "no items"))
            return None
        probe = first_of(items, what)
        _, item = probe
        if lacks_truth(item):
            plural = "" if len(items) == 1 else "s"
            why = f"{len(items)} item{plural} without truth, which its makers keep back"
            self.passed.append((what, why))
            return None
        kind = self._kind(item)
        files = files_of(items, len(IMAGES[kind]), probe)
        labels = self._labels(items, what) if kind == "label" else ()
        return Part(split, items, kind, files, labels)

    def _described(self, chosen: Mapping[str, Any]) -> str:
        text = self._name
        for key, word in chosen.items():
            text += f", {key} {word}"
        return text

    def _kind(self, item: Any) -> Kind:
        kind = kind_of(item)
        if kind is not None:
            return kind
        kinds = [f"{column} from {shape}" for column, shape in SHAPES.items()]
        expected = "; or ".join(kinds)
        got = f"{self._name}, whose items are {described(item)}"
        fix = "Set data.format.options, or a format that reads the files themselves: voc, image_mask, pairs."
        raise RequestError(Fault("data.format.dataset", got, expected, fix))

    def _labels(self, items: Any, what: str) -> Sequence[int]:
        try:
            return labels_of(items)
        except ImageFault as error:
            raise RequestError(Fault("data.source", f"{what}: {error}", "a class for each item")) from error

    def _items(self, options: Mapping[str, Any]) -> Any:
        """Return the dataset; RequestError with what torchvision says if it cannot be opened."""
        try:
            return self._class(**options)
        except shutil.Error:
            # SBDataset moves what it downloads, and has done so for the split before.
            return self._items({**options, "download": False})
        except (TypeError, ModuleNotFoundError) as error:
            expected = f"what torchvision.datasets.{self._name} takes"
            raise RequestError(Fault("data.format.options", f"{error}", expected)) from error
        except ValueError as error:
            unknown_word = str(error).startswith("Unknown value")
            kind = _UnknownWordError if unknown_word else _AbsentError
            raise kind(self._absent(error)) from error
        except FileNotFoundError as error:
            raise _AbsentError(self._absent(error)) from error
        except Exception as error:
            # RuntimeError, OSError, EOFError, IndexError, ...: what damaged files lead to.
            raise RequestError(self._absent(error)) from error

    def _absent(self, error: Exception) -> Fault:
        page = _PAGE.format(self._name)
        expected = f"the files of {self._name}"
        if self.options.get("download"):
            by_hand = f"fetch the files by hand and type data.source=<their root>: {page}"
            fix = f"Run it where the net is, or {by_hand}"
            expected += f", to be put into {self.root}"
            return Fault("data.format.download", f"{error}", expected, fix)
        fix = f"Look at data.source, or download: {page}"
        return Fault("data.source", f"{self.root}: {error}", expected, fix)


class _AbsentError(RequestError):
    """The files of a split are missing, or do not go together."""


class _UnknownWordError(RequestError):
    """The dataset has another word for the split."""
