"""Optical flow: where each pixel of the first image is in the second."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from cvflow.annotations.files import flo, kitti
from cvflow.annotations.image import Pixels
from cvflow.draw.maps import beside, flow_colours
from cvflow.losses.known import endpoint
from cvflow.metrics.flow import SHARES
from cvflow.registry import register
from cvflow.tasks.pair import PairTask
from cvflow.tasks.starter import Seen, Starter, of_maps
from cvflow.types import Loss, Prediction, Schema

FARTHEST = 1 / 8
"""The length of flow that is drawn in full colour, as a part of the image's width."""


@register("task", "flow")
class OpticalFlow(PairTask):
    """Rows carry ``flow``, as predictions do."""

    schema = Schema(images=("first", "second"), annotations={"flow": "binary"}, kinds={"flow": "flow"})
    answers: Mapping[str, str] = {"flow": "binary"}
    answer, usual_model, shares = "flow", "correlation_flow", SHARES

    def loss(self, answer_BCHW: Tensor, truth_BCHW: Tensor) -> Loss:
        return endpoint(answer_BCHW, truth_BCHW)

    def starter(self, seen: Seen) -> Starter:
        return of_maps(seen, {"name": self.usual_model}, 8, "horizontal_flip")

    def caption(self, values: Mapping[str, Any]) -> str:
        lengths = np.hypot(*np.moveaxis(self.array(values), 2, 0))
        return f"flow up to {np.nanmax(lengths):.1f} px, {np.nanmean(lengths):.1f} px in the mean"

    def draw(self, image: Pixels, answer: Mapping[str, Any]) -> Pixels:
        """Colours by the image's width alone, so that truth and answer can be compared."""
        flow = self.array(answer)
        return beside(image, flow_colours(flow, flow.shape[1] * FARTHEST))

    def files(self, prediction: Prediction) -> Mapping[str, bytes]:
        """.flo, and KITTI's 16-bit PNG, which holds up to 512 px in steps of 1/64."""
        flow = self.array(prediction.values)
        return {".flo": flo.write(flow), ".png": kitti.write_flow(flow)}
