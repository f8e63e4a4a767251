"""Stereo: how far each pixel of the left view lies left in the right one, the views being rectified."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from cvflow.annotations.files import kitti, pfm
from cvflow.annotations.image import Pixels
from cvflow.config import Recipe
from cvflow.draw.maps import beside, disparity_colours
from cvflow.errors import Fault, RequestError
from cvflow.losses.known import smooth_l1
from cvflow.metrics.stereo import SHARES
from cvflow.registry import register
from cvflow.tasks.pair import PairTask
from cvflow.tasks.refusals import unfit
from cvflow.tasks.starter import Seen, Starter, of_maps
from cvflow.types import Loss, Prediction, Raw, Schema

WIDEST = 1 / 6
"""The disparity that is drawn in the last colour, as a part of the image's width."""


@register("task", "stereo")
class Stereo(PairTask):
    """Rows carry ``disparity`` of the left view and, for the mirroring of pairs, ``disparity_right``, which may be absent.

    A mirrored pair has its views exchanged: its left one is the right one mirrored.
    """

    schema = Schema(
        images=("left", "right"),
        annotations={"disparity": "binary", "disparity_right": "binary"},
        defaults={"disparity_right": None},
        kinds={"disparity": "disparity", "disparity_right": "disparity"},
    )
    answers: Mapping[str, str] = {"disparity": "binary"}
    answer, usual_model, shares = "disparity", "cost_volume_stereo", SHARES
    swaps: Mapping[str, str] = {
        "left": "right", "right": "left", "disparity": "disparity_right", "disparity_right": "disparity",
    }  # fmt: skip

    def loss(self, answer_BCHW: Tensor, truth_BCHW: Tensor) -> Loss:
        return smooth_l1(answer_BCHW, truth_BCHW)

    def faults(self, cfg: Recipe) -> list[Fault]:
        asked = (("evaluate.views", cfg.evaluate.views), ("predict.views", cfg.predict.views))
        return [
            *super().faults(cfg),
            *unfit(
                cfg, "turns", "which takes the views off their rows", "changes that keep the rows of a pair"
            ),
            *(
                _mirrored(where)
                for where, views in asked
                if any(view.name == "horizontal_flip" for view in views)
            ),
        ]

    def merge(self, raws: Sequence[Raw], views: Sequence[Any]) -> Raw:
        if any(view.mirrored for view in views):
            raise RequestError(_mirrored("views"))
        return super().merge(raws, views)

    def starter(self, seen: Seen) -> Starter:
        """Nothing is mirrored: that takes the right view's disparity. Found is what a quarter of the width lies apart."""
        return of_maps(seen, {"name": self.usual_model, "max_disparity": seen.size[1] // 4}, 8)

    def caption(self, values: Mapping[str, Any]) -> str:
        disparity = self.array(values)
        return f"disparity {np.nanmin(disparity):.1f} to {np.nanmax(disparity):.1f} px"

    def draw(self, image: Pixels, answer: Mapping[str, Any]) -> Pixels:
        """Colours by the image's width alone, so that truth and answer can be compared."""
        disparity = self.array(answer)
        return beside(image, disparity_colours(disparity, disparity.shape[1] * WIDEST))

    def files(self, prediction: Prediction) -> Mapping[str, bytes]:
        """PFM, and KITTI's 16-bit PNG, which holds up to 255 px in steps of 1/256."""
        disparity = self.array(prediction.values)
        return {".pfm": pfm.write(disparity), ".png": kitti.write_disparity(disparity)}


def _mirrored(where: str) -> Fault:
    got = "horizontal_flip of a stereo pair, whose mirrored views give the other view's disparity"
    return Fault(where, got, "views that keep left and right", "Leave horizontal_flip out.")
