"""The kinds of annotation that lie in the pixels, a file each: decoding, encoding and what can be wrong.

The worker processes of prepare import these files: they must not bring in torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvflow.annotations import box, disparity, flow, mask
from cvflow.effects import HIDES_ONE_PLACE, LEAVES_ROWS, MIRRORS, SWAPS_SIDES, Effect
from cvflow.ops.labels import VOID

Size = tuple[int, int]
"""Height and width in pixels."""


@dataclass(frozen=True)
class Kind:
    """What can be done with one kind of annotation.

    decode: a column's value -> array; raises ImageFault if it cannot be read. encode: its inverse.
    fault: (array, size of the image, class names) -> what is wrong with the array in plain words, or None.
    of_target: an array of a sample's target, channels or boxes first -> the array that ``encode`` takes.
    count: array -> pixels of each of the 256 values, for label maps; for other maps, 0 stands for the
    known pixels and VOID for the unknown ones.
    survives: which effects of a transform or a test-time view leave the annotation right.
    """

    decode: Callable[[Any], NDArray[Any]]
    encode: Callable[[NDArray[Any]], Any]
    fault: Callable[[NDArray[Any], Size, Sequence[str]], str | None]
    of_target: Callable[[NDArray[Any]], NDArray[Any]]
    count: Callable[[NDArray[Any]], NDArray[np.int64]] | None = None
    survives: frozenset[Effect] = frozenset({MIRRORS, LEAVES_ROWS, HIDES_ONE_PLACE, SWAPS_SIDES})


def count_known(values: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return 256 counts: the known pixels at 0, the unknown at VOID. values: HxW or HxWx2, NaN = unknown."""
    first_channel = values if values.ndim == 2 else values[..., 0]
    is_unknown = np.isnan(first_channel)
    unknown = np.count_nonzero(is_unknown)
    counts = np.zeros(256, dtype=np.int64)
    counts[0] = first_channel.size - unknown
    counts[VOID] = unknown
    return counts


def _first(array: NDArray[Any]) -> NDArray[Any]:
    """Return the only channel of a map, or the only box."""
    first: NDArray[Any] = array[0]
    return first


def _channels_last(map_CHW: NDArray[Any]) -> NDArray[Any]:
    return np.moveaxis(map_CHW, 0, 2)


FLOW_SURVIVES = frozenset({MIRRORS, LEAVES_ROWS, SWAPS_SIDES})
DISPARITY_SURVIVES = frozenset({MIRRORS})
"""Mirrored only together with the other view's disparity: see ``Schema.swaps``."""

KINDS: Mapping[str, Kind] = {
    "mask": Kind(mask.decode, mask.encode, mask.fault, np.asarray, mask.count),
    "box": Kind(box.decode, box.encode, box.fault, _first),
    "disparity": Kind(
        disparity.decode, disparity.encode, disparity.fault, _first, count_known, DISPARITY_SURVIVES
    ),
    "flow": Kind(flow.decode, flow.encode, flow.fault, _channels_last, count_known, FLOW_SURVIVES),
}


def encode_target(kinds: Mapping[str, str], target: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """Return a sample's target as a prepared row holds it. kinds: annotation -> its kind.

    What lies in the pixels is encoded; everything else becomes a plain number.
    """
    row: dict[str, Any] = {}
    for name, array in target.items():
        if name in kinds:
            kind = KINDS[kinds[name]]
            row[name] = kind.encode(kind.of_target(array))
        else:
            row[name] = array.item()
    return row
