"""Which files of images and masks belong together, in two folders or in one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from cvflow.formats.reading.trees import Entry, Tree, is_image

MASK_ENDS = (
    "_mask",
    "_masks",
    "_label",
    "_labels",
    "_L",
    "_gt",
    "_seg",
    "_segmentation",
    "-mask",
    "_gtFine_labelTrainIds",
)
"""What the name of a mask adds to that of its image."""
IMAGE_ENDS = ("_sat", "_image", "_img", "_rgb", "_leftImg8bit")
"""What the name of an image adds to that of its mask."""


class Pair(NamedTuple):
    """An image and its mask, or one of them alone."""

    image: Entry | None
    mask: Entry | None


def pairs(
    tree: Tree, images: str | None, masks: str | None, image_end: str = "", mask_end: str = ""
) -> Iterator[Pair]:
    """Yield every image and mask of two folders, in order.

    images, masks: None if there is no such folder. image_end, mask_end: what the files' names end
    with, if the user says so.
    """
    yield from _pairs_of_files(tree, images, masks, image_end, mask_end)
    image_folders = _subfolders(tree, images)
    mask_folders = _subfolders(tree, masks)
    for name in sorted(image_folders.keys() | mask_folders.keys()):
        inner_images = image_folders.get(name)
        inner_masks = mask_folders.get(name)
        yield from pairs(tree, inner_images, inner_masks, image_end, mask_end)


def stem(entry: Entry) -> str:
    """Return the name without its suffix."""
    return entry.name.rpartition(".")[0]


def _pairs_of_files(
    tree: Tree, images: str | None, masks: str | None, image_end: str, mask_end: str
) -> Iterator[Pair]:
    """Yield the pairs of the files in two folders, without those of their subfolders."""
    mixed = images == masks
    ends = _mask_ends(mixed, mask_end)
    masks_by_stem = {}
    for entry in images_in(tree, masks):
        # Among their images, only files with an ending of their own are masks.
        if not mixed or stem(entry).endswith(ends):
            masks_by_stem[stem(entry)] = entry
    without_image = dict(masks_by_stem)
    for entry in images_in(tree, images):
        if mixed and stem(entry) in masks_by_stem:
            continue
        mask = _mask_of(entry, masks_by_stem, image_end, ends)
        if mask:
            without_image.pop(stem(mask), None)
        yield Pair(entry, mask)
    for entry in without_image.values():
        yield Pair(None, entry)


def _mask_ends(mixed: bool, mask_end: str) -> tuple[str, ...]:
    if mask_end:
        return (mask_end,)
    return MASK_ENDS if mixed else ("", *MASK_ENDS)


def _mask_of(
    image: Entry, masks_by_stem: Mapping[str, Entry], image_end: str, ends: tuple[str, ...]
) -> Entry | None:
    for name in mask_names(stem(image), image_end, ends):
        if name in masks_by_stem:
            return masks_by_stem[name]
    return None


def mask_names(image: str, image_end: str, ends: tuple[str, ...]) -> Iterator[str]:
    """Yield the names, without suffix, that the mask of an image may have."""
    bases = [] if image_end else [image]
    for end in (image_end,) if image_end else IMAGE_ENDS:
        if image.endswith(end):
            bases.append(image.removesuffix(end))
    for base in bases:
        for end in ends:
            yield base + end


def images_in(tree: Tree, folder: str | None) -> list[Entry]:
    """Return the images directly in a folder; None holds none."""
    if folder is None:
        return []
    return [entry for entry in tree.entries(folder) if is_image(entry)]


def folders_in(tree: Tree, folder: str) -> list[Entry]:
    """Return the folders directly in a folder."""
    return [entry for entry in tree.entries(folder) if entry.kind == "folder"]


def _subfolders(tree: Tree, folder: str | None) -> dict[str, str]:
    """name -> path."""
    if folder is None:
        return {}
    return {entry.name: entry.path for entry in folders_in(tree, folder)}
