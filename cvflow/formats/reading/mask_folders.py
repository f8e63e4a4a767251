"""Where images and their masks lie: the folders that belong together, and the files in them that do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from cvflow.errors import Fault, RequestError
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
"""What a folder of masks is called more than the folder of images beside it, as in train/ and trainannot/."""
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
"""What a mask's file is called more than its image's."""
IMAGE_ENDS = ("_sat", "_image", "_img", "_rgb", "_leftImg8bit")
"""What an image's file is called more than its mask's."""
LAYOUT = "images/ and masks/, below train/, val/ and test/ or above them; or train/ and trainannot/, ..."


class Folders(NamedTuple):
    """Two folders whose files and subfolders of the same names belong together. split: that they give."""

    images: str
    masks: str
    split: Split | None = None


class Pair(NamedTuple):
    """An image and its mask, or one of them alone."""

    image: Entry | None
    mask: Entry | None


def named(tree: Tree, images: str, masks: str) -> list[Folders]:
    """As the user names them; ``{split}`` stands for train, val, test and their other names. RequestError where there are none."""
    found = []
    words: Mapping[str, Split | None] = SPLIT_WORDS if "{split}" in images else {"": None}
    for word, split in words.items():
        folders = Folders(
            images.replace("{split}", word).strip("/"), masks.replace("{split}", word).strip("/"), split
        )
        if is_folder(tree, folders.images) and is_folder(tree, folders.masks):
            found.append(folders)
    if not found:
        got = f"no two folders '{images}' and '{masks}'"
        raise RequestError(
            Fault(
                str(tree.source),
                got,
                "both, below the source",
                "Mend data.format.images and data.format.masks.",
            )
        )
    return found


def find(tree: Tree) -> list[Folders]:
    """By their names, see LAYOUT; empty where nothing is so."""
    top = _folders(tree, "")
    splits = [
        (entry.path, SPLIT_WORDS[entry.name.lower()]) for entry in top if entry.name.lower() in SPLIT_WORDS
    ]
    below = [Folders(*pair, split) for path, split in splits if (pair := _inside(tree, path))]
    beside = [Folders(path, other, split) for path, split in splits if (other := _longer(top, path))]
    mixed = [Folders(path, path, split) for path, split in splits if _mixed(tree, path)]
    whole = _by_split(tree, *pair) if (pair := _inside(tree, "")) else []
    return below or beside or mixed or whole or ([Folders("", "")] if _mixed(tree, "") else [])


def pairs(
    tree: Tree, images: str | None, masks: str | None, image_end: str = "", mask_end: str = ""
) -> Iterator[Pair]:
    """Every image and mask of two folders, in order; None = there is no such folder. image_end, mask_end: what names end with, if known."""
    mixed = images == masks
    here, there = ([e for e in _entries(tree, folder) if is_image(e)] for folder in (images, masks))
    ends = (mask_end,) if mask_end else MASK_ENDS if mixed else ("", *MASK_ENDS)
    by_stem = {stem(entry): entry for entry in there if not mixed or stem(entry).endswith(ends)}
    left = dict(by_stem)
    for entry in here:
        if mixed and stem(entry) in by_stem:
            continue
        mask = next((by_stem[name] for name in _names(stem(entry), image_end, ends) if name in by_stem), None)
        if mask:
            left.pop(stem(mask), None)
        yield Pair(entry, mask)
    yield from (Pair(None, entry) for entry in left.values())
    inner, other = (
        {e.name: e.path for e in _entries(tree, folder) if e.kind == "folder"} for folder in (images, masks)
    )
    for name in sorted(inner.keys() | other.keys()):
        yield from pairs(tree, inner.get(name), other.get(name), image_end, mask_end)


def outside(tree: Tree, folders: Iterable[Folders]) -> Iterator[str]:
    """Folders with images beside those that are read, and beside what these lie in."""
    used = {path for pair in folders for path in (pair.images, pair.masks)}
    for above in sorted({"", *(path.rpartition("/")[0] for path in used)}) if "" not in used else ():
        for entry in _folders(tree, above):
            if (
                not any(f"{path}/".startswith(f"{entry.path}/") for path in used)
                and above not in used
                and _holds(tree, entry.path)
            ):
                yield entry.path


def stem(entry: Entry) -> str:
    """The name without its suffix."""
    return entry.name.rpartition(".")[0]


def _entries(tree: Tree, folder: str | None) -> list[Entry]:
    return [] if folder is None else tree.entries(folder)


def _names(image: str, image_end: str, ends: tuple[str, ...]) -> Iterator[str]:
    """What the mask of an image may be called, without its suffix."""
    shorter = (
        image.removesuffix(end) for end in ([image_end] if image_end else IMAGE_ENDS) if image.endswith(end)
    )
    bases = [*shorter] if image_end else [image, *shorter]
    for base in bases:
        yield from (base + end for end in ends)


def _folders(tree: Tree, folder: str) -> list[Entry]:
    return [entry for entry in tree.entries(folder) if entry.kind == "folder"]


def _inside(tree: Tree, folder: str) -> tuple[str, str] | None:
    """The folders of images and of masks in a folder."""
    known = {entry.name.lower(): entry.path for entry in _folders(tree, folder)}
    images, masks = (
        [known[name] for name in names if name in known and _holds(tree, known[name])]
        for names in (IMAGES, MASKS)
    )
    return (images[0], masks[0]) if images and masks else None


def _by_split(tree: Tree, images: str, masks: str) -> list[Folders]:
    """The two folders, or those of the splits in them."""
    other = {SPLIT_WORDS.get(entry.name.lower()): entry.path for entry in _folders(tree, masks)}
    inner = [(entry.path, SPLIT_WORDS.get(entry.name.lower())) for entry in _folders(tree, images)]
    if not inner or None in (split for _, split in inner):
        return [Folders(images, masks)]
    return [Folders(path, other[split], split) for path, split in inner if split in other]


def _longer(entries: list[Entry], path: str) -> str | None:
    """The folder beside ``path`` that is called so and a little more."""
    names = {entry.name.lower(): entry.path for entry in entries}
    return next((names[name] for end in FOLDER_ENDS if (name := (path + end).lower()) in names), None)


def _holds(tree: Tree, folder: str) -> bool:
    """Whether an image lies in it or below."""
    entries = tree.entries(folder)
    return any(map(is_image, entries)) or any(
        _holds(tree, entry.path) for entry in entries if entry.kind == "folder"
    )


def _mixed(tree: Tree, folder: str) -> bool:
    """Whether masks lie among their images."""
    images = [entry for entry in tree.entries(folder) if is_image(entry)]
    stems = {stem(entry) for entry in images}
    return any(name in stems for own in stems for name in _names(own, "", MASK_ENDS))
