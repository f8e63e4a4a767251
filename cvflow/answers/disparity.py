"""How far each pixel of the left view lies left in the right one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from cvflow.annotations.files import kitti, pfm
from cvflow.annotations.image import Pixels
from cvflow.answers.displacement import DisplacementAnswer
from cvflow.draw.maps import beside, disparity_colours
from cvflow.metrics.stereo import SHARES
from cvflow.types import Prediction

WIDEST = 1 / 6
"""The disparity that is drawn in the last colour, as a part of the image's width."""


class DisparityAnswer(DisplacementAnswer):
    """``disparity`` in pixels of the left image."""

    name = "disparity"
    shares = SHARES
    image = "left"

    def caption(self, values: Mapping[str, Any]) -> str:
        disparity = self.array(values)
        return f"disparity {np.nanmin(disparity):.1f} to {np.nanmax(disparity):.1f} px"

    def draw(self, image: Pixels, values: Mapping[str, Any]) -> Pixels:
        """Return image and map side by side.

        Colours go by the image's width alone, so that truth and answer compare.
        """
        disparity = self.array(values)
        return beside(image, disparity_colours(disparity, disparity.shape[1] * WIDEST))

    def files(self, prediction: Prediction) -> Mapping[str, bytes]:
        """Return a PFM, and KITTI's 16-bit PNG, which holds up to 255 px in steps of 1/256."""
        disparity = self.array(prediction.values)
        return {".pfm": pfm.write(disparity), ".png": kitti.write_disparity(disparity)}
