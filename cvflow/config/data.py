"""The sections of a recipe about data and images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    PositiveInt,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from cvflow.registry import Component, Kind
from cvflow.section import Section


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


def two_sides(key: str) -> WrapValidator:
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

    size: Annotated[Size, two_sides("image.size")] = Field(
        (224, 224), description="Height and width in pixels."
    )
    channels: Literal[1, 3] = Field(3, description="1 = grey, 3 = RGB.")
    resize: Literal["stretch", "crop", "pad"] = Field(
        "stretch",
        description="stretch: to the size; crop: shorter side, then "
        "centre crop; pad: longer side, then black borders.",
    )
