"""Annotations that lie in the pixels, a file each kind: decoded, encoded, and what is wrong with them.

The worker processes of prepare import these files: they must not bring in torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvflow.data.annotations import box, disparity, flow, mask

Size = tuple[int, int]
"""Height and width in pixels."""


@dataclass(frozen=True)
class Kind:
    """decode: a column's value -> array; ImageFault where it is none. encode: its inverse.

    fault: (array, size of the image, class names) -> what is wrong with it, in plain words, or None.
    count: array -> pixels of each of the 256 values, for maps of classes.
    """

    decode: Callable[[Any], NDArray[Any]]
    encode: Callable[[NDArray[Any]], Any]
    fault: Callable[[NDArray[Any], Size, Sequence[str]], str | None]
    count: Callable[[NDArray[Any]], NDArray[np.int64]] | None = None


KINDS: Mapping[str, Kind] = {
    "mask": Kind(mask.decode, mask.encode, mask.fault, mask.count),
    "box": Kind(box.decode, box.encode, box.fault),
    "disparity": Kind(disparity.decode, disparity.encode, disparity.fault),
    "flow": Kind(flow.decode, flow.encode, flow.fault),
}
