"""Images and masks in folders: the class of each pixel as an index or a colour."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Discriminator, Field, Tag

from cvflow.annotations import mask
from cvflow.annotations.image import ImageFault, load
from cvflow.errors import Fault, RequestError
from cvflow.formats.reading.mask_files import Pair, pairs, stem
from cvflow.formats.reading.mask_folders import LAYOUT, Folders, find, named, near_miss, outside
from cvflow.formats.reading.mask_legend import Colour, Legend, Reading, by_colour, by_index, parse, values_of
from cvflow.formats.reading.split_lists import split_lists
from cvflow.formats.reading.trees import Entry, Tree, open_tree
from cvflow.formats.record import Confidence, Format, Guess, Record
from cvflow.ops.labels import VOID
from cvflow.registry import register
from cvflow.types import Split

LEGENDS = ("class_dict.csv", "classes.csv", "label_colors.txt", "labelmap.txt")
NAMES = ("classes.txt", "class_names.txt")
LISTS = "ImageSets/Segmentation"

# The tags begin with "union-", which the faults of a recipe leave out of the field's path.
Names = Annotated[
    tuple[Annotated[str, Field(coerce_numbers_to_str=True)], ...], Field(min_length=2), Tag("union-names")
]
File = Annotated[str, Tag("union-file")]
ClassNames = Annotated[
    File | Names, Discriminator(lambda value: "union-file" if isinstance(value, str) else "union-names")
]
Colours = Annotated[dict[str, Colour], Field(min_length=2), Tag("union-colours")]
Key = Annotated[
    File | Colours, Discriminator(lambda value: "union-file" if isinstance(value, str) else "union-colours")
]
IndexOrName = Annotated[
    Annotated[int, Tag("union-index")] | Annotated[str, Tag("union-name")],
    Discriminator(lambda value: "union-name" if isinstance(value, str) else "union-index"),
]
Void = Annotated[
    Annotated[IndexOrName, Tag("union-one")] | Annotated[tuple[IndexOrName, ...], Tag("union-all")],
    Discriminator(lambda value: "union-all" if isinstance(value, list | tuple) else "union-one"),
]


@register("format", "image_mask")
class ImageMask(Format):
    """Ids are the images' paths.

    An image and its mask have one name, or the mask's goes on with _mask, _L, ... The source is a
    folder or zip: images/ and masks/, below train/, val/ and test/ or above them; or train/ and
    trainannot/; also JPEGImages/ and SegmentationClass/ with ImageSets/Segmentation/*.txt.

    images, masks: the two folders, where their names say nothing; {split} in them stands for train,
    val, ... image_end, mask_end: what the files' names end with, as _leftImg8bit. classes: the
    names of indices 0, 1, ..., or a file of them; else classes.txt, else the indices in the masks.
    legend: name -> [r, g, b], or a file of such lines; else class_dict.csv, classes.csv or
    label_colors.txt. void: indices and names that count for nothing; 255 and a class called void,
    ignore or unlabelled always do.
    """

    gives = frozenset({"mask"})
    looks_for = "images/ and masks/, each image with a mask of its name (PNG of class indices, or of colours)"

    def __init__(
        self,
        source: Path | None,
        *,
        images: str | None = None,
        masks: str | None = None,
        image_end: str = "",
        mask_end: str = "",
        classes: ClassNames | None = None,
        legend: Key | None = None,
        void: Void = (),
    ) -> None:
        self._tree: Tree = open_tree(source, "a folder of images and masks")
        self._ends = image_end, mask_end
        self._folders = self._found(images, masks)
        self._check_pairs()
        self._lists: dict[str, Split] = split_lists(self._tree, LISTS)
        self._reading = self._read_as(classes, legend, (void,) if isinstance(void, int | str) else void)
        self.classes = self._reading.classes

    @classmethod
    def guess(cls, source: Path) -> Guess:
        try:
            tree = open_tree(source, "a folder of images and masks")
        except RequestError:  # neither folder nor whole zip
            return Guess(Confidence.NONE)
        if find(tree):
            return Guess(Confidence.LIKELY)
        return Guess(Confidence.NONE, near_miss=near_miss(tree))

    def __iter__(self) -> Iterator[Record]:
        for pair, split in self._wanted():
            if pair.image:
                path = pair.image.path
                read = {"image": partial(self._tree.read, path)}
                line = pair.mask.path if pair.mask else None
                yield Record(
                    path, path, read, {}, split, line=line, maps={"mask": partial(self._mask, pair.mask)}
                )

    def skipped(self) -> Iterator[tuple[str, str]]:
        for folders in self._folders:
            for pair in pairs(self._tree, folders.images, folders.masks, *self._ends):
                if not pair.image and pair.mask:
                    yield pair.mask.path, "a mask without an image"
                elif pair.image and self._lists and stem(pair.image) not in self._lists:
                    yield pair.image.path, f"in no list of {LISTS}"
        yield from (
            (path, "outside the folders of images and masks") for path in outside(self._tree, self._folders)
        )

    def _found(self, images: str | None, masks: str | None) -> list[Folders]:
        if (images is None) != (masks is None):
            got = "images alone" if masks is None else "masks alone"
            raise RequestError(Fault("data.format", got, "both images and masks, or none of them"))
        folders = (
            named(self._tree, images, masks) if images is not None and masks is not None else find(self._tree)
        )
        if not folders:
            fix = "Type data.format.images=<folder> data.format.masks=<folder>."
            raise RequestError(Fault(str(self._tree.source), "no folders of images and masks", LAYOUT, fix))
        return folders

    def _check_pairs(self) -> None:
        """RequestError if there are images and masks, and none belong together."""
        images: list[str] = []
        masks: list[str] = []
        for folders in self._folders:
            for pair in pairs(self._tree, folders.images, folders.masks, *self._ends):
                if pair.image and pair.mask:
                    return
                images += [pair.image.path] if pair.image else []
                masks += [pair.mask.path] if pair.mask else []
        if images and masks:
            got = f"no image has a mask of its name: {images[0]}, {masks[0]}, ..."
            fix = (
                "Rename one of them; or say what the names end with, by data.format.image_end and .mask_end."
            )
            raise RequestError(Fault(str(self._tree.source), got, "an image and its mask of one name", fix))

    def _wanted(self) -> Iterator[tuple[Pair, Split | None]]:
        for folders in self._folders:
            for pair in pairs(self._tree, folders.images, folders.masks, *self._ends):
                if pair.image and (not self._lists or stem(pair.image) in self._lists):
                    yield pair, folders.split or self._lists.get(stem(pair.image))

    def _mask(self, entry: Entry | None) -> bytes:
        if entry is None:
            raise ImageFault("no mask of its name")
        try:
            return mask.encode(self._reading.labels(load(self._tree.read(entry.path))))
        except ImageFault as error:
            raise ImageFault(f"mask: {error}") from error

    def _read_as(
        self, classes: Sequence[str] | str | None, legend: Legend | str | None, void: Sequence[int | str]
    ) -> Reading:
        if classes is not None and legend is not None:
            raise RequestError(
                Fault("data.format", "classes and a legend", "one of them: a legend names the classes itself")
            )
        legend = legend or (self._there(LEGENDS) if classes is None else None)
        if legend:
            colours = parse(self._lines(legend, "legend"), legend) if isinstance(legend, str) else legend
            return _usable(by_colour(colours, void), void)
        classes = classes or self._there(NAMES)
        names = (
            [line.strip() for line in self._lines(classes, "classes") if line.strip()]
            if isinstance(classes, str)
            else classes
        )
        if names:
            return _usable(by_index(range(len(names)), names, void), void)
        values = self._values()
        return _usable(by_index(values, list(map(str, values)), void), void)

    def _there(self, names: Iterable[str]) -> str | None:
        """The first of these files that is at the source's root."""
        root_files = {entry.name for entry in self._tree.entries("") if entry.kind == "file"}
        return next((name for name in names if name in root_files), None)

    def _lines(self, name: str, field: str) -> list[str]:
        try:
            return self._tree.read(name).decode("utf-8-sig", "replace").splitlines()
        except OSError as error:
            raise RequestError(
                Fault(f"data.format.{field}", f"'{name}', which cannot be read", "a file below the source")
            ) from error

    def _values(self) -> list[int]:
        """The indices in all masks; RequestError where they are no indices.

        Masks that cannot be read are named later.
        """
        with ThreadPoolExecutor() as pool:
            values = set().union(
                *pool.map(self._values_in, (pair.mask for pair, _ in self._wanted() if pair.mask))
            )
        if values == {0, VOID}:
            fix = "Is 255 a class? Type 'data.format.legend={background: [0,0,0], object: [255,255,255]}'."
            raise RequestError(
                Fault(str(self._tree.source), "masks of 0 and 255 alone, and 255 is void", "two classes", fix)
            )
        return sorted(values - {VOID})

    def _values_in(self, entry: Entry) -> set[int]:
        try:
            image = load(self._tree.read(entry.path))
        except (ImageFault, OSError):
            return set()
        try:
            return set(np.unique(values_of(image)).tolist())
        except ImageFault as error:
            fix = (
                "Write data.format.legend: {road: [128, 64, 128], ...}, or "
                "a file class_dict.csv of lines: road,128,64,128."
            )
            raise RequestError(Fault(entry.path, str(error), "indices, or a legend", fix)) from error


def _usable(reading: Reading, void: Sequence[int | str]) -> Reading:
    """RequestError where fewer than two classes, or more than a mask can hold, are left."""
    if not 2 <= len(reading.classes) <= VOID:
        got = f"{len(reading.classes)} classes" + (
            f" with {', '.join(map(str, void))} as void" if void else ""
        )
        raise RequestError(
            Fault(
                "data.format.classes",
                got,
                f"2 to {VOID}",
                "Name them with data.format.classes or .legend.",
            )
        )
    return reading
