"""Optical flow: where each pixel of the first image is in the second."""

from __future__ import annotations

from torch import Tensor

from cvflow.answers.flow import FlowAnswer
from cvflow.losses.masked import endpoint
from cvflow.registry import register
from cvflow.tasks.pair import PairTask
from cvflow.types import Loss, Schema


@register("task", "flow")
class OpticalFlow(PairTask):
    """Rows carry ``flow``, as predictions do."""

    schema = Schema(images=("first", "second"), annotations={"flow": "binary"}, kinds={"flow": "flow"})
    usual_model = "correlation_flow"

    def __init__(self) -> None:
        self.answer = FlowAnswer()

    def loss(self, predicted_BCHW: Tensor, true_BCHW: Tensor) -> Loss:
        return endpoint(predicted_BCHW, true_BCHW)
