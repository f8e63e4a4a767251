"""Annotations that lie in the pixels, a file each kind: decoded, encoded, and what is wrong with them.

The worker processes of prepare import these files: they must not bring in torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvflow.annotations import box, disparity, flow, mask
from cvflow.ops.labels import VOID

Size = tuple[int, int]
"""Height and width in pixels."""


@dataclass(frozen=True)
class Kind:
    """decode: a column's value -> array; ImageFault where it is none. encode: its inverse.

    fault: (array, size of the image, class names) -> what is wrong with it, in plain words, or None.
    of_target: what a sample's target holds, as an array -> array; targets have the channels, or the boxes, first.
    count: array -> pixels of each of the 256 values, for maps of classes; of other maps 0 are the known pixels, VOID the unknown.
    """

    decode: Callable[[Any], NDArray[Any]]
    encode: Callable[[NDArray[Any]], Any]
    fault: Callable[[NDArray[Any], Size, Sequence[str]], str | None]
    of_target: Callable[[NDArray[Any]], NDArray[Any]]
    count: Callable[[NDArray[Any]], NDArray[np.int64]] | None = None


def known(values: NDArray[np.float32]) -> NDArray[np.int64]:
    """values: HxW or HxWx2, NaN = unknown."""
    counts, lacking = np.zeros(256, dtype=np.int64), np.isnan(values.reshape(*values.shape[:2], -1)[..., 0])
    counts[[0, VOID]] = np.count_nonzero(~lacking), np.count_nonzero(lacking)
    return counts


KINDS: Mapping[str, Kind] = {
    "mask": Kind(mask.decode, mask.encode, mask.fault, np.asarray, mask.count),
    "box": Kind(box.decode, box.encode, box.fault, itemgetter(0)),
    "disparity": Kind(disparity.decode, disparity.encode, disparity.fault, itemgetter(0), known),
    "flow": Kind(flow.decode, flow.encode, flow.fault, lambda map_2HW: np.moveaxis(map_2HW, 0, 2), known),
}


def as_in_a_row(kinds: Mapping[str, str], target: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """A sample's target as a row has it: encoded, what lies in the pixels; the rest as numbers. kinds: annotation -> its kind."""

    def value(name: str, array: NDArray[Any]) -> Any:
        kind = KINDS[kinds[name]] if name in kinds else None
        return kind.encode(kind.of_target(array)) if kind else array.item()

    return {name: value(name, array) for name, array in target.items()}
