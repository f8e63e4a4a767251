"""Where each pixel of the first image is in the second."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from cvflow.annotations.files import flo, kitti
from cvflow.annotations.image import Pixels
from cvflow.answers.displacement import DisplacementAnswer
from cvflow.draw.maps import beside, flow_colours
from cvflow.metrics.flow import SHARES
from cvflow.types import Prediction

FARTHEST = 1 / 8
"""The length of flow that is drawn in full colour, as a part of the image's width."""


class FlowAnswer(DisplacementAnswer):
    """``flow``, (x, y) in pixels of the first image."""

    name = "flow"
    shares = SHARES
    image = "first"

    def caption(self, values: Mapping[str, Any]) -> str:
        lengths = np.hypot(*np.moveaxis(self.array(values), 2, 0))
        return f"flow up to {np.nanmax(lengths):.1f} px, {np.nanmean(lengths):.1f} px in the mean"

    def draw(self, image: Pixels, values: Mapping[str, Any]) -> Pixels:
        """Return image and map side by side.

        Colours go by the image's width alone, so that truth and answer compare.
        """
        flow = self.array(values)
        return beside(image, flow_colours(flow, flow.shape[1] * FARTHEST))

    def files(self, prediction: Prediction) -> Mapping[str, bytes]:
        """Return a .flo, and KITTI's 16-bit PNG, which holds up to 512 px in steps of 1/64."""
        flow = self.array(prediction.values)
        return {".flo": flo.write(flow), ".png": kitti.write_flow(flow)}
