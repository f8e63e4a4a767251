"""Stereo: how far each pixel of the left view lies left in the right one, the views being rectified."""

from __future__ import annotations

from torch import Tensor

from cvflow.answers.disparity import DisparityAnswer
from cvflow.losses.masked import smooth_l1
from cvflow.registry import register
from cvflow.tasks.pair import PairTask
from cvflow.types import Loss, Schema


@register("task", "stereo")
class Stereo(PairTask):
    """Rows carry ``disparity`` of the left view and, for the mirroring of pairs,
    ``disparity_right``, which may be absent.

    A mirrored pair has its views exchanged: its left one is the right one mirrored.
    """

    schema = Schema(
        images=("left", "right"),
        annotations={"disparity": "binary", "disparity_right": "binary"},
        defaults={"disparity_right": None},
        kinds={"disparity": "disparity", "disparity_right": "disparity"},
        swaps={
            "left": "right",
            "right": "left",
            "disparity": "disparity_right",
            "disparity_right": "disparity",
        },
    )
    usual_model = "cost_volume_stereo"

    def __init__(self) -> None:
        self.answer = DisparityAnswer()

    def loss(self, predicted_BCHW: Tensor, true_BCHW: Tensor) -> Loss:
        return smooth_l1(predicted_BCHW, true_BCHW)
