"""The typed recipe: every section, key, unit and default; unknown keys are refused.

The recipe reference in docs/ is generated from this file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from cvflow.config.compute import Compute as Compute
from cvflow.config.data import Data as Data
from cvflow.config.data import Image as Image
from cvflow.config.data import SplitRule as SplitRule
from cvflow.config.train import Phase as Phase
from cvflow.config.train import Train as Train
from cvflow.registry import Component, Kind
from cvflow.section import Section as Section
from cvflow.section import merge as merge
from cvflow.space import Search as Search


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
