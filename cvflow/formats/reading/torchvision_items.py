"""What the items of a dataset class are, and their parts as records have them: encoded images, classes, maps in canonical bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    "label": ("image",), "mask": ("image",), "disparity": ("left", "right"), "flow": ("first", "second"),
}  # fmt: skip
SHAPES: Mapping[Kind, str] = {
    "label": "(image, class)",
    "mask": "(image, mask as an image)",
    "disparity": "(left, right, disparity HxW or 1xHxW[, valid])",
    "flow": "(first, second, flow 2xHxW[, valid])",
}
"""The items of each kind."""
FILE_LISTS = ("samples", "_samples", "imgs", "_image_files", "images", "_images", "_image_list")
LABEL_LISTS = ("targets", "labels", "_labels")
PROBED = 10
"""Items that are tried to see what a dataset's are."""


def kind_of(item: Any) -> Kind | None:
    """None where the item fits no kind."""
    if not isinstance(item, tuple) or not 2 <= len(item) <= 4 or not isinstance(item[0], Image.Image):
        return None
    second, *maps = item[1:]
    if not maps:
        return "mask" if isinstance(second, Image.Image) else "label" if _is_label(second) else None
    shape: tuple[int, ...] = getattr(maps[0], "shape", ())
    if not isinstance(second, Image.Image) or len(shape) not in (2, 3):
        return None
    return "disparity" if len(shape) == 2 or shape[0] == 1 else "flow" if shape[0] == 2 else None


def lacks_truth(item: Any) -> bool:
    """Whether the item is two images whose map the dataset's makers keep back."""
    return isinstance(item, tuple) and len(item) > 2 and isinstance(item[1], Image.Image) and item[2] is None


def described(item: Any) -> str:
    """``(Image, ndarray 20x4x4)``, for messages."""
    parts = item if isinstance(item, tuple) else (item,)
    shapes = ("x".join(map(str, getattr(part, "shape", ()))) for part in parts)
    text = ", ".join(
        f"{type(part).__name__} {shape}".strip() for part, shape in zip(parts, shapes, strict=True)
    )
    return f"({text})" if isinstance(item, tuple) else text


def first_of(items: Any, name: str) -> tuple[int, Any]:
    """The first of a few items that can be read, and its number. RequestError where none can, with the reason of the first."""
    reason: ImageFault | None = None
    for i in range(min(PROBED, len(items))):
        try:
            return i, _item(items, i)
        except ImageFault as error:
            reason = reason or error
    raise RequestError(Fault("data.source", f"{name} with no readable item ({reason})", "images")) from reason


def image(items: Any, index: int, place: int) -> bytes:
    """The PNG of an item's image; place: among its parts. Raises ImageFault."""
    found = _item(items, index)[place]
    return encode_png(np.asarray(found if found.mode in ("L", "RGB") else found.convert("RGB")))


def map_of(items: Any, index: int, kind: Kind, reading: Reading | None) -> bytes:
    """The canonical bytes of an item's mask, disparity or flow. reading: of the mask. Raises ImageFault."""
    item = _item(items, index)
    if kind == "mask" and reading:
        return mask.encode(reading.labels(item[1]))
    if item[2] is None:
        raise ImageFault(f"no {kind}")
    values, valid = np.asarray(item[2], dtype=np.float32), item[3] if len(item) == 4 else None
    return (
        flow.encode(_flow(values, valid)) if kind == "flow" else disparity.encode(_disparity(values, valid))
    )


def _item(items: Any, index: int) -> Any:
    """Its images loaded: torchvision leaves the files of some open."""
    try:
        item = items[index]
        for part in item if isinstance(item, tuple) else ():
            if isinstance(part, Image.Image):
                part.load()
    except Exception as error:  # a damaged file: as many kinds as there are readers
        raise ImageFault(f"unreadable: {error}") from error
    return item


def _disparity(values: NDArray[np.float32], valid: Any) -> NDArray[np.float32]:
    """HxW. Where nothing says which pixels are valid, 0 is unknown, as in KITTI's files and torchvision's own training of stereo."""
    values = values.reshape(values.shape[-2:])
    known = values > 0 if valid is None else np.asarray(valid, dtype=bool).reshape(values.shape)
    return np.where(known & np.isfinite(values), values, np.float32(np.nan))


def _flow(values: NDArray[np.float32], valid: Any) -> NDArray[np.float32]:
    """HxWx2, of 2xHxW."""
    known = (np.abs(values) <= LEAST_UNKNOWN).all(axis=0)
    if valid is not None:
        known &= np.asarray(valid, dtype=bool).reshape(known.shape)
    return np.moveaxis(np.where(known, values, np.float32(np.nan)), 0, 2)


def labels_of(items: Any) -> Sequence[int]:
    """All classes: as the dataset lists them where that agrees with its items, else from the items one by one. Raises ImageFault."""
    probes = sorted({0, len(items) // 2, len(items) - 1})
    pairs = [getattr(items, name, None) for name in FILE_LISTS[:3]]
    beside = ([entry[1] for entry in listed or ()] for listed in pairs if _of_pairs(listed))
    for listed in (*(getattr(items, name, None) for name in LABEL_LISTS), *beside):
        if (
            listed is not None
            and len(listed) == len(items)
            and all(_agrees(listed[i], items, i) for i in probes)
        ):
            return [int(label) for label in listed]
    return [int(_item(items, i)[1]) for i in range(len(items))]


def files_of(items: Any, images: int, probe: tuple[int, Any]) -> list[tuple[str, ...]]:
    """Paths of the images of each item; empty where the dataset lists none. probe: an item, which its files must show."""
    for name in FILE_LISTS:
        listed = getattr(items, name, None)
        if isinstance(listed, list) and len(listed) == len(items):
            found = [_paths(entry)[:images] for entry in listed]
            if all(len(paths) == images for paths in found) and _shows(found[probe[0]], probe[1]):
                return found
    return []


def _paths(entry: Any) -> tuple[str, ...]:
    return tuple(
        str(part)
        for part in (entry if isinstance(entry, tuple | list) else (entry,))
        if isinstance(part, str | Path)
    )


def _shows(paths: tuple[str, ...], item: Any) -> bool:
    """Whether the files are images of the item's sizes; upright or not, which torchvision leaves as it is."""
    try:
        sizes = [size_of(Path(path).read_bytes()) for path in paths]
    except (OSError, ImageFault):
        return False
    return all(sorted(size) == sorted(part.size) for size, part in zip(sizes, item, strict=False))


def _of_pairs(listed: Any) -> bool:
    return isinstance(listed, list) and all(isinstance(entry, tuple) and len(entry) == 2 for entry in listed)


def _is_label(value: Any) -> bool:
    return isinstance(value, int | np.integer) or (hasattr(value, "item") and getattr(value, "ndim", 1) == 0)


def _agrees(listed: Any, items: Any, index: int) -> bool:
    """Whether an item has the class listed; one that cannot be read agrees."""
    try:
        return _is_label(listed) and int(listed) == int(_item(items, index)[1])
    except ImageFault:
        return _is_label(listed)
