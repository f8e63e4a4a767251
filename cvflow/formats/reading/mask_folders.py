"""Which folders of images and masks belong together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import NamedTuple

from cvflow.errors import Fault, RequestError
from cvflow.formats.reading.mask_files import MASK_ENDS, folders_in, images_in, mask_names, stem
from cvflow.formats.reading.split_lists import SPLIT_WORDS
from cvflow.formats.reading.trees import Entry, Tree, is_folder, is_image
from cvflow.types import Split

IMAGES = ("images", "image", "imgs", "img", "jpegimages", "photos", "rgb")
MASKS = (
    "segmentationclass",
    "segmentationclassraw",
    "masks",
    "mask",
    "labels",
    "label",
    "annotations",
    "annots",
    "gt",
    "groundtruth",
    "seg",
)
"""Names of folders, in any case; the first that holds images is taken."""
FOLDER_ENDS = ("annot", "_annot", "_masks", "_mask", "_labels", "_label", "masks", "labels", "_gt")
"""What the name of a folder of masks adds to that of its folder of images, as in train/ and trainannot/."""
LAYOUT = "images/ and masks/, below train/, val/ and test/ or above them; or train/ and trainannot/, ..."


class Folders(NamedTuple):
    """Two folders whose files and subfolders of the same names belong together, and their split."""

    images: str
    masks: str
    split: Split | None = None


def named(tree: Tree, images: str, masks: str) -> list[Folders]:
    """Return the folders that the user names; RequestError if they do not exist.

    ``{split}`` in a name stands for train, val, test and their other names.
    """
    existing = []
    words: Mapping[str, Split | None] = SPLIT_WORDS if "{split}" in images else {"": None}
    for word, split in words.items():
        images_folder = images.replace("{split}", word).strip("/")
        masks_folder = masks.replace("{split}", word).strip("/")
        if is_folder(tree, images_folder) and is_folder(tree, masks_folder):
            existing.append(Folders(images_folder, masks_folder, split))
    if not existing:
        got = f"no two folders '{images}' and '{masks}'"
        fix = "Mend data.format.images and data.format.masks."
        raise RequestError(Fault(str(tree.source), got, "both, below the source", fix))
    return existing


def find(tree: Tree) -> list[Folders]:
    """Return the folders that belong together by their names, see LAYOUT; empty if there are none."""
    split_folders = _split_folders(tree)
    return (
        _below_splits(tree, split_folders)
        or _beside_splits(tree, split_folders)
        or _mixed_in_splits(tree, split_folders)
        or _above_splits(tree)
        or _mixed_at_the_root(tree)
    )


def near_miss(tree: Tree) -> str:
    """Return what is wrong with a folder of images and one of masks, by their names, that are not
    read as such.
    """
    paths = {entry.name.lower(): entry.path for entry in folders_in(tree, "")}
    images = [paths[name] for name in IMAGES if name in paths]
    masks = [paths[name] for name in MASKS if name in paths]
    if not images or not masks:
        return ""
    suffixes = {PurePosixPath(entry.name).suffix for entry in tree.entries(masks[0]) if entry.kind == "file"}
    if not suffixes:
        return f"{masks[0]}/ holds no files"
    return (
        f"{masks[0]}/ holds {', '.join(sorted(suffixes))} files, which "
        "are not read as masks: save them as PNG of class indices"
    )


def outside(tree: Tree, folders: Iterable[Folders]) -> Iterator[str]:
    """Yield folders with images that are not read, beside those that are and beside their parents."""
    used: set[str] = set()
    for pair in folders:
        used |= {pair.images, pair.masks}
    if "" in used:
        return
    parents = {path.rpartition("/")[0] for path in used}
    for parent in sorted({"", *parents} - used):
        for entry in folders_in(tree, parent):
            if not _is_or_holds(entry.path, used) and _has_image(tree, entry.path):
                yield entry.path


def _split_folders(tree: Tree) -> dict[str, Split]:
    """Folder at the root that is named like a split -> its split."""
    splits = {}
    for entry in folders_in(tree, ""):
        split = _split_of(entry)
        if split is not None:
            splits[entry.path] = split
    return splits


def _below_splits(tree: Tree, split_folders: Mapping[str, Split]) -> list[Folders]:
    """train/images/ and train/masks/."""
    folders = []
    for path, split in split_folders.items():
        inside = _inside(tree, path)
        if inside:
            images, masks = inside
            folders.append(Folders(images, masks, split))
    return folders


def _beside_splits(tree: Tree, split_folders: Mapping[str, Split]) -> list[Folders]:
    """train/ and trainannot/."""
    folders = []
    paths = {entry.name.lower(): entry.path for entry in folders_in(tree, "")}
    for path, split in split_folders.items():
        for end in FOLDER_ENDS:
            name = (path + end).lower()
            if name in paths:
                folders.append(Folders(path, paths[name], split))
                break
    return folders


def _mixed_in_splits(tree: Tree, split_folders: Mapping[str, Split]) -> list[Folders]:
    """train/ with images and masks side by side."""
    folders = []
    for path, split in split_folders.items():
        if _is_mixed(tree, path):
            folders.append(Folders(path, path, split))
    return folders


def _above_splits(tree: Tree) -> list[Folders]:
    """images/train/ and masks/train/, or images/ and masks/ without splits."""
    inside = _inside(tree, "")
    if inside is None:
        return []
    images, masks = inside
    image_folders = folders_in(tree, images)
    if not image_folders:
        return [Folders(images, masks)]
    masks_by_split = {}
    for entry in folders_in(tree, masks):
        masks_by_split[_split_of(entry)] = entry.path
    folders = []
    for entry in image_folders:
        split = _split_of(entry)
        if split is None:
            # With one folder that is no split, the folders are something else, and none gives a split.
            return [Folders(images, masks)]
        if split in masks_by_split:
            folders.append(Folders(entry.path, masks_by_split[split], split))
    return folders


def _split_of(folder: Entry) -> Split | None:
    return SPLIT_WORDS.get(folder.name.lower())


def _mixed_at_the_root(tree: Tree) -> list[Folders]:
    if not _is_mixed(tree, ""):
        return []
    return [Folders("", "")]


def _inside(tree: Tree, folder: str) -> tuple[str, str] | None:
    """Return the folder of images and the folder of masks in a folder, if it has both."""
    paths = {entry.name.lower(): entry.path for entry in folders_in(tree, folder)}
    images = _first_with_image(tree, paths, IMAGES)
    masks = _first_with_image(tree, paths, MASKS)
    if images is None or masks is None:
        return None
    return images, masks


def _first_with_image(tree: Tree, paths: Mapping[str, str], names: Iterable[str]) -> str | None:
    for name in names:
        if name in paths and _has_image(tree, paths[name]):
            return paths[name]
    return None


def _has_image(tree: Tree, folder: str) -> bool:
    """Return whether an image lies in the folder or below."""
    entries = tree.entries(folder)
    if any(map(is_image, entries)):
        return True
    return any(_has_image(tree, entry.path) for entry in entries if entry.kind == "folder")


def _is_or_holds(folder: str, paths: Iterable[str]) -> bool:
    """Return whether one of the paths is the folder or lies below it."""
    below = f"{folder}/"
    return any(f"{path}/".startswith(below) for path in paths)


def _is_mixed(tree: Tree, folder: str) -> bool:
    """Return whether masks lie among their images."""
    stems = set(map(stem, images_in(tree, folder)))
    masks: set[str] = set()
    for image in stems:
        masks.update(mask_names(image, "", MASK_ENDS))
    return not stems.isdisjoint(masks)
