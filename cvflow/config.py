"""The typed recipe: every section, key, unit and default; unknown keys are refused.

The recipe reference in docs/ is generated from this file.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    NonNegativeInt,
    PositiveInt,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_validator,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from cvflow.registry import Component, Kind
from cvflow.section import Section as Section
from cvflow.section import merge as merge
from cvflow.space import Search as Search


class SplitRule(Section):
    """How records without a given split are divided; stratified by class, fixed by the seed."""

    val: float = Field(
        0.1, ge=0, lt=1, description="Fraction of the training records held out for validation."
    )
    test: float = Field(
        0.2,
        ge=0,
        le=1,
        description="Fraction of all records held out for test; unused where the "
        "data has a test split. 1: all records, whatever the data "
        "says, to measure a model that was trained elsewhere: with model.weights and train.epochs=0.",
    )
    seed: int = Field(0, description="Another seed, another division.")
    train_on_val: bool = Field(
        False, description="Val's records, given or carved, are trained on as well; then there is no val."
    )


class Data(Section):
    """Where the raw data is and how it becomes the prepared dataset."""

    format: Annotated[Component, Kind("format")] = Field(description="The reader of the raw data.")
    source: Path | None = Field(
        None, description="The raw data; relative to the recipe file. None where the data is built in."
    )
    split: SplitRule = Field(SplitRule(), description="Division into train, val and test.")
    shard_mb: int = Field(64, gt=0, description="Size at which a new shard is begun, MB.")
    max_megapixels: float = Field(
        200.0, gt=0, description="Larger images are left out and named; a small file may claim any size."
    )


Size = tuple[PositiveInt, PositiveInt]


def _two_sides(key: str) -> WrapValidator:
    """One error for whatever is no height and width, that says what to type."""

    def check(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        try:
            return handler(value)
        except ValidationError:
            side = value if isinstance(value, int) and value > 0 else 224
            raise ValueError(f"[height, width], two counts of pixels. Type {key}=[{side},{side}]") from None

    return WrapValidator(check)


class Image(Section):
    """What the model sees."""

    size: Annotated[Size, _two_sides("image.size")] = Field(
        (224, 224), description="Height and width in pixels."
    )
    channels: Literal[1, 3] = Field(3, description="1 = grey, 3 = RGB.")
    resize: Literal["stretch", "crop", "pad"] = Field(
        "stretch",
        description="stretch: to the size; crop: shorter side, then "
        "centre crop; pad: longer side, then black borders.",
    )


class Model(Component):
    """The network: a registered model, its options, and the weights it starts from."""

    name: str = Field("classifier", description="The registered model.")
    init: Annotated[Component, Kind("init")] = Field(
        Component(name="default"),
        description="Starting weights of convolutions and linear layers, drawn by the seed.",
    )
    weights: Path | None = Field(
        None,
        description="A safetensors file to start from; relative to the recipe "
        "file. What matches by name and shape is loaded.",
    )


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
    image_size: Annotated[Size | None, _two_sides("train.image_size")] = Field(
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


Views = tuple[Annotated[Component, Kind("view")], ...]


class Evaluate(Section):
    """What the trained model is measured on."""

    split: Literal["val", "test"] = Field("test", description="The split measured.")
    batch_size: int = Field(256, gt=0, description="Samples a batch; does not change the result.")
    views: Views = Field(
        (),
        description="Looks at each image, whose answers are averaged; several "
        "multiply. Losses are of the first; none in training.",
    )


class Promote(Section):
    """When a new version becomes champion."""

    metric: str | None = Field(
        None, description="A metric of evaluate, a loss too; the task's objective by default."
    )
    threshold: float | None = Field(
        None, description="The least (or, for an error, greatest) value that may be champion."
    )
    better_than_champion: bool = Field(
        True, description="Must not be worse than the present champion on the same data."
    )


class Register(Section):
    """The registered model."""

    model: str | None = Field(None, description="Its name; the run's name by default.")
    promote: Promote = Field(Promote(), description="The promotion rule.")
    notes: str = Field(
        "", description="Markdown for the model card: licence, intended use, known limits, whom to ask."
    )


class Predict(Section):
    """Batch inference by the predict stage."""

    split: Literal["train", "val", "test"] = Field(
        "test", description="The split of the prepared dataset that is predicted."
    )
    batch_size: int = Field(256, gt=0, description="Samples a batch; does not change the result.")
    views: Views = Field((), description="As evaluate.views.")
    overlays: int = Field(
        0, ge=0, description="Images drawn with their answers, as JPEG in predictions/_overlays."
    )


class Compute(Section):
    """Where it runs. In no fingerprint: the same training on other workers is the same training."""

    workers: NonNegativeInt | tuple[PositiveInt, PositiveInt] = Field(
        0,
        description="0: this process. n: n Ray workers. [min, max]: as many as "
        "the cluster has room for, which may change in mid-run.",
    )
    address: str | None = Field(
        None, description="Ray cluster to join: auto or host:port; none = a local Ray for the run."
    )
    storage: Path | None = Field(
        None, description="Folder for checkpoints that every node reaches; .cvflow by default."
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: cuda where there is one.")
    threads: int | None = Field(
        None, gt=0, description="Torch threads a worker; the cores divided by the workers by default."
    )
    loader_workers: int = Field(
        0, ge=0, description="Data-loading processes a worker; 0 = a thread of the training process."
    )
    checkpoint_minutes: float = Field(
        10.0, gt=0, description="Longest time between two checkpoints; there is one after each epoch."
    )
    hang_minutes: float = Field(
        30.0,
        gt=0,
        description="Ray workers that wait so long for one that does not "
        "answer are started again, from the last checkpoint.",
    )

    @property
    def least(self) -> int:
        """The fewest workers to begin with; 0 = this process."""
        return self.workers[0] if isinstance(self.workers, tuple) else self.workers

    @property
    def most(self) -> int:
        """The most workers there may be; 0 = this process."""
        return self.workers[1] if isinstance(self.workers, tuple) else self.workers

    @field_validator("workers", mode="wrap")
    @classmethod
    def _one_or_two_counts(cls, value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        """One error for what is neither: the union's own are two."""
        try:
            workers = handler(value)
        except ValidationError:
            workers = (1, 0)
        if isinstance(workers, tuple) and workers[0] > workers[1]:
            raise ValueError("a count, or [min, max] of two counts, the lesser first")
        return workers


class Tracking(Section):
    """What is logged. In no fingerprint."""

    experiment: str | None = Field(None, description="MLflow experiment; the run's name by default.")
    every: int = Field(10, gt=0, description="Training losses are averaged and logged once in so many steps.")


class Recipe(Section):
    """A whole recipe."""

    description: str = Field("", description="One line, shown by `cvflow list`.")
    task: Annotated[Component, Kind("task")] = Field(description="The vision task.")
    data: Data = Field(description="The raw data.")
    image: Image = Field(Image(), description="What the model sees.")
    model: Annotated[Model, Kind("model")] = Field(Model(), description="The network.")
    train: Train = Field(Train(), description="Training.")
    evaluate: Evaluate = Field(Evaluate(), description="Evaluation.")
    register_: Register = Field(Register(), alias="register", description="Registration.")
    predict: Predict = Field(Predict(), description="Batch inference.")
    compute: Compute = Field(Compute(), description="Where it runs.")
    tracking: Tracking = Field(Tracking(), description="What is logged.")
    search: Search = Field(Search(), description="How settings are searched.")
    seed: int = Field(0, description="Order, augmentation, initialisation and dropout all follow from it.")
    plugins: tuple[Path, ...] = Field(
        (), description="Python files that register your own components; relative to the recipe file."
    )
