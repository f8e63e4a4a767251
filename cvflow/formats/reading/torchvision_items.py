"""The items of a torchvision dataset, and their parts as records have them.

The parts are encoded images, classes, and maps in canonical bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cvflow.annotations import disparity, flow, mask
from cvflow.annotations.files.flo import LEAST_UNKNOWN
from cvflow.annotations.image import ImageFault, encode_png, size_of
from cvflow.errors import Fault, RequestError
from cvflow.formats.reading.mask_legend import Reading

Kind = Literal["label", "mask", "disparity", "flow"]
IMAGES: Mapping[Kind, tuple[str, ...]] = {
    "label": ("image",),
    "mask": ("image",),
    "disparity": ("left", "right"),
    "flow": ("first", "second"),
}
"""The images of an item of each kind."""
SHAPES: Mapping[Kind, str] = {
    "label": "(image, class)",
    "mask": "(image, mask as an image)",
    "disparity": "(left, right, disparity HxW or 1xHxW[, valid])",
    "flow": "(first, second, flow 2xHxW[, valid])",
}
"""The items of each kind."""
PAIR_LISTS = ("samples", "_samples", "imgs")
"""Attributes that may list (file, class) of each item."""
FILE_LISTS = (*PAIR_LISTS, "_image_files", "images", "_images", "_image_list")
LABEL_LISTS = ("targets", "labels", "_labels")
PROBED = 10
"""Items that are tried to see what those of a dataset are."""


def kind_of(item: Any) -> Kind | None:
    """Return the kind of an item, None if it fits none."""
    if not isinstance(item, tuple) or not 2 <= len(item) <= 4:
        return None
    if not isinstance(item[0], Image.Image):
        return None
    if len(item) == 2:
        return _kind_by_target(item[1])
    if not isinstance(item[1], Image.Image):
        return None
    return _kind_by_map(item[2])


def _kind_by_target(target: Any) -> Kind | None:
    if isinstance(target, Image.Image):
        return "mask"
    return "label" if _is_label(target) else None


def _kind_by_map(map: Any) -> Kind | None:
    shape: tuple[int, ...] = getattr(map, "shape", ())
    if len(shape) == 2:
        return "disparity"
    if len(shape) != 3:
        return None
    kinds: dict[int, Kind] = {1: "disparity", 2: "flow"}
    return kinds.get(shape[0])


def lacks_truth(item: Any) -> bool:
    """Return whether the item is two images whose map the dataset's makers keep back."""
    if not isinstance(item, tuple) or len(item) <= 2:
        return False
    second, truth = item[1:3]
    return isinstance(second, Image.Image) and truth is None


def described(item: Any) -> str:
    """Return an item in words for messages, as ``(Image, ndarray 20x4x4)``."""
    if not isinstance(item, tuple):
        return _described_part(item)
    parts = map(_described_part, item)
    return f"({', '.join(parts)})"


def _described_part(part: Any) -> str:
    name = type(part).__name__
    sides = getattr(part, "shape", ())
    shape = "x".join(map(str, sides))
    return f"{name} {shape}".strip()


def first_of(items: Any, name: str) -> tuple[int, Any]:
    """Return the first of a few items that can be read, and its number.

    RequestError if none can, with the reason of the first.
    """
    reason: ImageFault | None = None
    for i in range(min(PROBED, len(items))):
        try:
            return i, _item(items, i)
        except ImageFault as error:
            reason = reason or error
    got = f"{name} with no readable item ({reason})"
    raise RequestError(Fault("data.source", got, "images")) from reason


def image(items: Any, index: int, place: int) -> bytes:
    """Return the PNG of an item's image. place: among its parts. Raises ImageFault."""
    part = _item(items, index)[place]
    if part.mode not in ("L", "RGB"):
        part = part.convert("RGB")
    return encode_png(np.asarray(part))


def map_of(items: Any, index: int, kind: Kind, reading: Reading | None) -> bytes:
    """Return the canonical bytes of an item's mask, disparity or flow. Raises ImageFault.

    reading: of the mask.
    """
    item = _item(items, index)
    if kind == "mask" and reading:
        labels = reading.labels(item[1])
        return mask.encode(labels)
    if item[2] is None:
        raise ImageFault(f"no {kind}")
    values = np.asarray(item[2], dtype=np.float32)
    valid = item[3] if len(item) == 4 else None
    if kind == "flow":
        return flow.encode(_flow(values, valid))
    return disparity.encode(_disparity(values, valid))


def _item(items: Any, index: int) -> Any:
    """Return an item with its images loaded: torchvision leaves the files of some open."""
    try:
        item = items[index]
        for part in item if isinstance(item, tuple) else ():
            if isinstance(part, Image.Image):
                part.load()
    except Exception as error:  # a damaged file: as many kinds as there are readers
        raise ImageFault(f"unreadable: {error}") from error
    return item


def _disparity(values: NDArray[np.float32], mask: Any) -> NDArray[np.float32]:
    """Return HxW, NaN for unknown. mask: the valid pixels, if the dataset gives them.

    Without a mask, 0 is unknown, as in KITTI's files and torchvision's own training of stereo.
    """
    values = values.reshape(values.shape[-2:])
    valid = values > 0
    if mask is not None:
        valid = np.asarray(mask, dtype=bool).reshape(values.shape)
    # A new array: the mask may be the dataset's own.
    valid = valid & np.isfinite(values)
    return np.where(valid, values, np.float32(np.nan))


def _flow(values: NDArray[np.float32], mask: Any) -> NDArray[np.float32]:
    """Return HxWx2 of 2xHxW, NaN for unknown. mask: the valid pixels, if the dataset gives them."""
    small = np.abs(values) <= LEAST_UNKNOWN
    valid = small.all(axis=0)
    if mask is not None:
        valid &= np.asarray(mask, dtype=bool).reshape(valid.shape)
    masked = np.where(valid, values, np.float32(np.nan))
    return np.moveaxis(masked, 0, 2)


def labels_of(items: Any) -> Sequence[int]:
    """Return the classes of all items. Raises ImageFault.

    They are those that the dataset lists if they agree with its items, else those of the items one by one.
    """
    for listed in _label_lists(items):
        if len(listed) == len(items) and _agree(listed, items):
            return list(map(int, listed))
    labels = []
    for i in range(len(items)):
        item = _item(items, i)
        labels.append(int(item[1]))
    return labels


def _label_lists(items: Any) -> Iterator[Sequence[Any]]:
    """Yield what may be the classes of all items."""
    for name in LABEL_LISTS:
        listed = getattr(items, name, None)
        if listed is not None:
            yield listed
    for name in PAIR_LISTS:
        listed = getattr(items, name, None)
        if isinstance(listed, list) and _of_pairs(listed):
            yield [entry[1] for entry in listed]


def _agree(listed: Sequence[Any], items: Any) -> bool:
    """Return whether the first, the middle and the last item have the classes listed."""
    last = len(items) - 1
    probes = sorted({0, len(items) // 2, last})
    return all(_agrees(listed[i], items, i) for i in probes)


def _agrees(label: Any, items: Any, index: int) -> bool:
    """Return whether an item has the class listed; one that cannot be read agrees."""
    if not _is_label(label):
        return False
    try:
        return int(label) == int(_item(items, index)[1])
    except ImageFault:
        return True


def files_of(items: Any, images: int, probe: tuple[int, Any]) -> list[tuple[str, ...]]:
    """Return the paths of the images of each item; empty if the dataset lists none.

    images: of an item. probe: an item and its number, which its files must show.
    """
    number, item = probe
    for name in FILE_LISTS:
        listed = getattr(items, name, None)
        if not isinstance(listed, list) or len(listed) != len(items):
            continue
        files = [_paths(entry)[:images] for entry in listed]
        counts = set(map(len, files))
        if counts == {images} and _shows(files[number], item):
            return files
    return []


def _paths(entry: Any) -> tuple[str, ...]:
    """Return the paths in what a dataset lists of an item."""
    parts = entry if isinstance(entry, tuple | list) else (entry,)
    paths = []
    for part in parts:
        if isinstance(part, str | Path):
            paths.append(str(part))
    return tuple(paths)


def _shows(paths: tuple[str, ...], item: Any) -> bool:
    """Return whether the files are images of the item's sizes, in either orientation."""
    for path, part in zip(paths, item, strict=False):
        try:
            size = size_of(Path(path).read_bytes())
        except (OSError, ImageFault):
            return False
        # Torchvision does not turn images upright.
        if sorted(size) != sorted(part.size):
            return False
    return True


def _of_pairs(listed: Sequence[Any]) -> bool:
    return all(isinstance(entry, tuple) and len(entry) == 2 for entry in listed)


def _is_label(value: Any) -> bool:
    if isinstance(value, int | np.integer):
        return True
    # A tensor or an array of one number.
    return hasattr(value, "item") and getattr(value, "ndim", 1) == 0
