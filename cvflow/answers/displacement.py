"""What disparity and flow share: a map of displacements in pixels, one at every pixel of the original."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvflow.annotations import KINDS
from cvflow.annotations.image import decode
from cvflow.answers.base import BaseAnswer, Figures, Guess, Metric
from cvflow.metrics.endpoint import Bad, EndpointMetric, epe
from cvflow.types import DatasetInfo, Prediction, Row


class DisplacementAnswer(BaseAnswer):
    """One column, called as the kind of annotation; truths are the same map as an array, NaN = unknown.

    shares: what is measured beside the end-point error, name -> from which error on a pixel is bad.
    image: the column of the image whose pixels the map has.
    """

    shares: Mapping[str, Bad]
    image: str
    quality_name = "-EPE"

    def __init__(self) -> None:
        self.columns = {self.name: "binary"}
        self.heavy = frozenset({self.name})
        self.figures: Figures = {"epe": "min", **dict.fromkeys(self.shares, "min")}

    def array(self, values: Mapping[str, Any]) -> NDArray[Any]:
        """Return the map of a prediction's values, of a row or of a truth: HxW, or HxWx2 for flow."""
        value = values[self.name]
        return KINDS[self.name].decode(value) if isinstance(value, bytes) else np.asarray(value)

    def encode(self, map_HWC: NDArray[Any]) -> bytes:
        """Return the canonical bytes of a map; one of a single channel is stored without that dimension."""
        array = map_HWC[..., 0] if map_HWC.shape[2] == 1 else map_HWC
        data: bytes = KINDS[self.name].encode(array)
        return data

    def caption(self, values: Mapping[str, Any]) -> str:
        raise NotImplementedError

    def metric(self, info: DatasetInfo) -> Metric:
        return EndpointMetric(self.name, KINDS[self.name].decode, self.shares)

    def quality(self, prediction: Prediction, truth: Mapping[str, Any]) -> float:
        """Return minus the end-point error, in pixels."""
        return -epe(self.array(prediction.values), self.array(truth))

    def guess(self, train: Iterable[Row]) -> Guess:
        """The same everywhere: the median of the rows' medians, component by component."""
        medians = [np.nanmedian(np.atleast_3d(self.array(row)), axis=(0, 1)) for row in train]
        constant_C = np.median(medians, axis=0).astype(np.float32)

        def guess(row: Row) -> Mapping[str, Any]:
            height, width = decode(row[self.image]).shape[:2]
            map_HWC = np.broadcast_to(constant_C, (height, width, len(constant_C)))
            return {self.name: self.encode(np.ascontiguousarray(map_HWC))}

        return guess
