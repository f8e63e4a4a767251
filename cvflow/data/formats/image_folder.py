"""A folder per class: ``source/<class>/**`` or ``source/{train,val,test}/<class>/**`` (the ImageFolder layout)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from cvflow.data.images import IMAGE_SUFFIXES
from cvflow.data.records import Format, Record
from cvflow.errors import Fault, RequestError, one_of
from cvflow.registry import register
from cvflow.types import Split

SPLIT_FOLDERS: dict[str, Split] = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


@register("format", "image_folder")
class ImageFolder(Format):
    """Ids are paths relative to the source, with '/'. Hidden files and folders are passed over."""

    def __init__(self, source: Path | None) -> None:
        if source is None or not source.is_dir():
            got = "nothing" if source is None else f"'{source}', " + ("a file" if source.exists() else "which does not exist")
            raise RequestError(Fault("data.source", got, "a folder of class folders", "Type data.source=<path>."))
        self.source = source
        self.roots = self._roots()
        self.classes = self._checked_classes()

    def __iter__(self) -> Iterator[Record]:
        for path, split, label in self._class_files():
            if _is_image(path):
                name = path.relative_to(self.source).as_posix()
                yield Record(name, name, {"image": path.read_bytes}, {"label": self._index[label]}, split)

    def skipped(self) -> Iterator[tuple[str, str]]:
        for path, _, _ in self._class_files():
            if not _is_image(path):
                reason = "not an image's file name" if path.exists() else "a broken link"
                yield path.relative_to(self.source).as_posix(), reason
        for folder in dict.fromkeys([self.source, *self.roots]):
            for path in _listed(folder):
                if path not in self.roots and not (folder in self.roots and path.is_dir()):
                    yield path.relative_to(self.source).as_posix(), "outside the class folders"

    @cached_property
    def _index(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.classes)}

    def _roots(self) -> dict[Path, Split | None]:
        """The folders that hold the class folders, with the split they give."""
        given: dict[Path, Split | None] = {p: SPLIT_FOLDERS[p.name] for p in _folders(self.source) if p.name in SPLIT_FOLDERS}
        others = len(_folders(self.source)) - len(given)
        if not given or (others and not {"train"} < {p.name for p in given}):
            return {self.source: None}  # a lone "train" among other folders is a class: the railway kind
        if "train" not in given.values():
            got = "only " + ", ".join(f"'{p.name}'" for p in given)
            raise RequestError(Fault(str(self.source), got, "a folder 'train' beside them", "Add it, or name the class folders otherwise."))
        return given

    def _checked_classes(self) -> tuple[str, ...]:
        if not any(_is_image(path) for path, _, _ in self._class_files()):
            fix = "Put the images into one folder per class, or type another data.source=<path>."
            raise RequestError(Fault(str(self.source), "no images in class folders", "<class>/<image file>", fix))
        trained = {p.name for root, split in self.roots.items() if split in (None, "train") for p in _folders(root)}
        if len(trained) < 2:
            got = "one class: " + ", ".join(f"'{name}'" for name in trained)
            raise RequestError(Fault(str(self.source), got, "at least two class folders", "Add the other classes."))
        faults = [
            Fault(str(p), f"class '{p.name}', not in train", one_of(trained), "Add it to train, or remove the folder.")
            for root in self.roots
            for p in _folders(root)
            if p.name not in trained
        ]
        if faults:
            raise RequestError(*faults)
        return tuple(sorted(trained))

    def _class_files(self) -> Iterator[tuple[Path, Split | None, str]]:
        above = frozenset(map(os.path.realpath, [self.source, *self.roots]))
        for root, split in self.roots.items():
            for folder in _folders(root):
                for path in _files(folder, above):
                    yield path, split, folder.name


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()


def _listed(folder: Path) -> list[Path]:
    return [folder / name for name in sorted(os.listdir(folder)) if not name.startswith(".")]


def _folders(folder: Path) -> list[Path]:
    return [path for path in _listed(folder) if path.is_dir()]


def _files(folder: Path, above: frozenset[str]) -> Iterator[Path]:
    """Every file below, links followed, save those that lead back to a folder above."""
    real = os.path.realpath(folder)
    if real in above:
        return
    for path in _listed(folder):
        if path.is_dir():
            yield from _files(path, above | {real})
        else:
            yield path
