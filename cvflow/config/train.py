"""The section of a recipe about training, and its phases."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    ValidationError,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from cvflow.config.data import Size, two_sides
from cvflow.registry import Component, Kind
from cvflow.section import Section, merge


class Phase(Section):
    """One stretch of training with its own optimiser and schedule."""

    kind: Annotated[Component, Kind("phase")] = Field(
        Component(name="sgd"), description="sgd: gradient steps."
    )
    epochs: int = Field(10, ge=0, description="Passes over the training split; 0 keeps the starting weights.")
    optimizer: Annotated[Component, Kind("optimizer")] = Field(
        Component(name="sgd"), description="The optimiser."
    )
    schedule: Annotated[Component, Kind("schedule")] = Field(
        Component(name="cosine"), description="The learning rate over the phase."
    )
    warmup_epochs: float = Field(0.0, ge=0, description="Linear warm-up to the optimiser's lr, in epochs.")
    image_size: Annotated[Size | None, two_sides("train.image_size")] = Field(
        None, description="Height and width in this phase, to start small; image.size by default."
    )
    patience: int | None = Field(
        None,
        gt=0,
        description="The phase ends after so many epochs without a better score on val; none = never early.",
    )
    freeze: str = Field(
        "none",
        min_length=1,
        description="What is not trained: everything up to and including a part "
        "of the model, as in `backbone` or `backbone.layer3`. "
        "Frozen batch norms keep their averages.",
    )


class Train(Phase):
    """Training. The phase keys here hold for every phase; `phases` overrides them one by one."""

    batch_size: int = Field(64, gt=0, description="Samples an optimiser step, over all workers.")
    sampler: Annotated[Component, Kind("sampler")] | None = Field(
        None,
        description="Which rows make up an epoch, and in what order; none = the "
        "task's own: identities for an embedding, else shuffle.",
    )
    images_per_class: int | None = Field(
        None,
        gt=0,
        description="Only so many rows of each class are trained on, the same "
        "ones and more for a greater number; none = all.",
    )
    augment: tuple[Annotated[Component, Kind("transform")], ...] = Field(
        (), description="Random transforms, in order."
    )
    mix: Annotated[Component, Kind("mix")] | None = Field(
        None, description="Images of a batch mixed in pairs, and their targets too."
    )
    phases: tuple[dict[str, Any], ...] = Field(
        (), description="Each a set of phase keys that differ from those above; none = one phase."
    )
    accumulate: int = Field(
        1,
        gt=0,
        description="Parts that a step's samples are divided into: less "
        "memory, the same step. Where there are several losses, "
        "the parts after the first go through the network once more, to count them.",
    )
    precision: Literal["fp32", "bf16", "fp16"] = Field(
        "fp32", description="Of the forward pass; the weights stay fp32. fp16 scales the loss."
    )
    clip_norm: float | None = Field(None, gt=0, description="Gradients are scaled down to at most this norm.")
    ema: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Decay of an average of the weights (0.999, say), "
        "which is then what is measured and kept.",
    )
    channels_last: bool = Field(False, description="Memory order NHWC: faster convolutions on most devices.")
    compile: bool = Field(
        False, description="torch.compile the step: minutes at the start, faster after. Needs a C++ compiler."
    )
    not_finite: Literal["stop", "skip"] = Field(
        "stop", description="Where a loss is NaN or infinite: end the training, or leave that step out."
    )
    keep: Literal["best", "last"] = Field(
        "best", description="The exported weights: best on val by the task's objective, or the last."
    )
    deterministic: bool = Field(True, description="Only operations with reproducible results.")

    def plan(self) -> list[Phase]:
        """The phases in order, each complete."""
        return [self._phase(over) for over in self.phases or ({},)]

    def _phase(self, over: dict[str, Any]) -> Phase:
        return Phase.model_validate(merge(self.model_dump(include=set(Phase.model_fields)), over))

    @model_validator(mode="after")
    def _phases_are_valid(self) -> Train:
        phase_errors: list[InitErrorDetails] = []
        for index, over in enumerate(self.phases):
            try:
                self._phase(over)
            except ValidationError as error:
                phase_errors += _in_phase(error, index)
        if phase_errors:
            raise ValidationError.from_exception_data("Train", phase_errors)
        return self


def _in_phase(error: ValidationError, index: int) -> Iterator[InitErrorDetails]:
    """The errors of one phase, placed at ``phases.<index>``."""
    unknown = PydanticCustomError("phase_key", "one of " + ", ".join(sorted(Phase.model_fields)))
    for item in error.errors():
        kind = unknown if item["type"] == "extra_forbidden" else item["type"]
        yield InitErrorDetails(
            type=kind, loc=("phases", index, *item["loc"]), input=item["input"], ctx=item.get("ctx", {})
        )
