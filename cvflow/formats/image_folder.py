"""A folder per class: ``source/<class>/**`` or ``source/{train,val,test}/<class>/**`` (the
ImageFolder layout).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property, partial
from pathlib import Path

from cvflow.errors import Fault, RequestError, one_of
from cvflow.formats.reading.mask_folders import find
from cvflow.formats.reading.pair_files import has_images_in_folders, looks_like_pairs
from cvflow.formats.reading.split_lists import SPLIT_FOLDERS
from cvflow.formats.reading.trees import Entry, Tree, is_image, open_tree
from cvflow.formats.record import Confidence, Format, Guess, Record
from cvflow.registry import register
from cvflow.types import Split

SHOWN = 5
"""Folders that a message lists."""


@register("format", "image_folder")
class ImageFolder(Format):
    """Ids are paths relative to the source, a folder or a zip, with '/'.

    Hidden files and folders are passed over.
    """

    looks_for = "a folder of images for each class, also below train/, val/ and test/"

    def __init__(self, source: Path | None) -> None:
        self.tree: Tree = open_tree(source, "a folder of class folders")
        self.source = self.tree.source
        self.roots = self._roots()
        self.classes = self._checked_classes()

    @classmethod
    def guess(cls, source: Path) -> Guess:
        """Folders of images and of masks, or of two views, look like two classes: they are another
        format's.
        """
        try:
            tree = open_tree(source, "a folder of class folders")
            if find(tree) or looks_like_pairs(source):
                return Guess(Confidence.NONE)
        except RequestError:
            # neither folder nor whole zip: reading it says so
            return Guess(Confidence.POSSIBLE)
        return Guess(Confidence.LIKELY if has_images_in_folders(tree) else Confidence.POSSIBLE)

    def __iter__(self) -> Iterator[Record]:
        for entry, split, label in self._class_files():
            if is_image(entry):
                read = partial(self.tree.read, entry.path)
                yield Record(entry.path, entry.path, {"image": read}, {"label": self._index[label]}, split)

    def skipped(self) -> Iterator[tuple[str, str]]:
        for entry, _, _ in self._class_files():
            if not is_image(entry):
                yield entry.path, "not an image's file name" if entry.kind == "file" else f"a {entry.kind}"
        for folder in dict.fromkeys(["", *self.roots]):
            for entry in self.tree.entries(folder):
                if entry.path not in self.roots and not (folder in self.roots and entry.kind == "folder"):
                    yield entry.path, "outside the class folders"

    @cached_property
    def _index(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.classes)}

    def _folders(self, folder: str) -> list[Entry]:
        return [entry for entry in self.tree.entries(folder) if entry.kind == "folder"]

    def _roots(self) -> dict[str, Split | None]:
        """The folders that hold the class folders, with the split they give."""
        top = [entry.name for entry in self._folders("")]
        split_roots: dict[str, Split | None] = {
            name: SPLIT_FOLDERS[name] for name in top if name in SPLIT_FOLDERS
        }
        if not split_roots or (len(top) > len(split_roots) and not {"train"} < split_roots.keys()):
            # a lone "train" among other folders is a class: the railway kind
            return {"": None}
        if "train" not in split_roots.values():
            got = "only " + ", ".join(f"'{name}'" for name in split_roots)
            raise RequestError(
                Fault(
                    str(self.source),
                    got,
                    "a folder 'train' beside them",
                    "Add it, or name the class folders otherwise.",
                )
            )
        return split_roots

    def _checked_classes(self) -> tuple[str, ...]:
        if not any(is_image(entry) for entry, _, _ in self._class_files()):
            fix = "Put the images into one folder per class, or type another data.source=<path>."
            raise RequestError(
                Fault(str(self.source), "no images in class folders", "<class>/<image file>", fix)
            )
        trained = {
            e.name
            for root, split in self.roots.items()
            if split in (None, "train")
            for e in self._folders(root)
        }
        if len(trained) < 2:
            raise RequestError(self._one_class(trained))
        filled = self._filled()
        if len(filled) < 2:
            got = (
                "".join(f"images in '{name}' alone, " for name in filled)
                + f"none in {', '.join(sorted(trained - filled))}"
            )
            fix = "These may be another task's annotations; else put the images into one folder per class."
            raise RequestError(
                Fault(str(self.source), got, "at least two class folders with training images", fix)
            )
        faults = [
            Fault(
                str(self.source / e.path),
                f"class '{e.name}', not in train",
                one_of(trained),
                "Add it to train, or remove the folder.",
            )
            for root in self.roots
            for e in self._folders(root)
            if e.name not in trained
        ]
        if faults:
            raise RequestError(*faults)
        return tuple(sorted(trained))

    def _one_class(self, trained: set[str]) -> Fault:
        """Return the fault of a single class folder, which may hold the class folders itself."""
        got = "one class: " + ", ".join(f"'{name}'" for name in trained)
        fix = "Add the other classes."
        for name in trained:
            inner = [entry.name for entry in self._folders(name)]
            if len(inner) >= 2 and "" in self.roots:
                listed = ", ".join(inner[:SHOWN])
                fix = f"Its folders {listed} look like classes: type {self.source / name}."
        return Fault(str(self.source), got, "at least two class folders", fix)

    def _filled(self) -> set[str]:
        """The classes with a training image; one look into each folder tells."""
        above = self._above()
        trained = (
            folder
            for root, split in self.roots.items()
            if split in (None, "train")
            for folder in self._folders(root)
        )
        return {folder.name for folder in trained if any(map(is_image, self._files(folder.path, above)))}

    def _above(self) -> frozenset[str]:
        return frozenset(map(self.tree.real, ["", *self.roots]))

    def _class_files(self) -> Iterator[tuple[Entry, Split | None, str]]:
        above = self._above()
        for root, split in self.roots.items():
            for folder in self._folders(root):
                for entry in self._files(folder.path, above):
                    yield entry, split, folder.name

    def _files(self, folder: str, above: frozenset[str]) -> Iterator[Entry]:
        """Every file below, links followed, save those that lead back to a folder above, which come
        as entries of that kind.
        """
        real = self.tree.real(folder)
        if real in above:
            yield Entry(folder, "link to a folder above it")
            return
        for entry in self.tree.entries(folder):
            if entry.kind == "folder":
                yield from self._files(entry.path, above | {real})
            else:
                yield entry
