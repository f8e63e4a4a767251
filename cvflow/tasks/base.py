"""The task protocol: everything above it is generic.

What differs between tasks is a method here, never a branch elsewhere. Shapes: B batch, C channels, H W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from cvflow.annotations.image import MAX_MEGAPIXELS, Pixels
from cvflow.config import Recipe
from cvflow.errors import Fault, RequestError
from cvflow.formats.record import Format
from cvflow.loading.samplers import FirstOfEach, Sampler
from cvflow.loading.transforms import compose
from cvflow.registry import Component, build
from cvflow.tasks.refusals import gives_else, no_head, no_linear_layer, other_model, unfit, unmixable
from cvflow.tasks.starter import Seen, Starter
from cvflow.types import Batch, DatasetInfo, Loss, Objective, Prediction, Raw, Row, Sample, Schema

Transform = Callable[[Sample], Sample]
"""To the model's size; random ones draw from torch's global generator, which the loader seeds per sample."""
ANY_DATA = DatasetInfo("", tuple(map(str, range(100))), {}, (0.5,) * 3, (0.25,) * 3, "")
"""Stands for data that is not prepared: with classes enough that a metric leaves no figure out."""


class Metric(Protocol):
    """Mergeable over workers: ``state`` is plain data, ``merge`` takes another's state. lower: figures that are better low."""

    lower: frozenset[str]

    def update(self, predictions: Sequence[Prediction], targets: Sequence[Mapping[str, Any]]) -> None: ...

    def state(self) -> Any: ...

    def merge(self, state: Any) -> None: ...

    def compute(self) -> dict[str, float]: ...

    def details(self) -> dict[str, Any]:
        """What the report draws beside the numbers (a confusion matrix); plain data."""
        ...


class Features(NamedTuple):
    """What a linear classifier is fitted to. x: B x F; label: B, the index of the class; weight: B, how much each counts."""

    x: Tensor
    label: Tensor
    weight: Tensor


class Task(Protocol):
    """One vision task. answers: the columns of its predictions, name -> Arrow type name.

    answer: what its models give: they have an attribute of this name that says so. usual_model: one of them.
    max_megapixels: the dataset's limit; larger images are not read.
    quality_name: what ``quality`` is, in a word or two. compared_by: the answer that is a vector to compare images by, if one is.
    """

    schema: Schema
    answers: Mapping[str, str]
    answer: str
    usual_model: str
    max_megapixels: float
    quality_name: str
    compared_by: str | None

    def objective(self, cfg: Recipe) -> Objective: ...

    def faults(self, cfg: Recipe) -> list[Fault]:
        """What the recipe asks for that the task cannot do, each option being right by itself."""
        ...

    def data_faults(self, cfg: Recipe, reader: Format) -> list[Fault]:
        """What it asks for that cannot be done with this data, as far as its records say without their images."""
        ...

    def samples(self, row: Row) -> Iterable[Sample]: ...

    def transforms(self, cfg: Recipe, split: str) -> Transform: ...

    def sampler(self, cfg: Recipe, info: DatasetInfo) -> Sampler: ...

    def collate(self, samples: Sequence[Sample]) -> Batch: ...

    def build(self, cfg: Recipe, info: DatasetInfo) -> nn.Module: ...

    def losses(self, model: nn.Module, batch: Batch) -> dict[str, Loss]:
        """By names that end in ``loss``."""
        ...

    def forward(self, model: nn.Module, batch: Batch) -> Raw: ...

    def measure(self, model: nn.Module, batch: Batch) -> tuple[dict[str, Loss], Raw]:
        """``losses`` and ``forward`` of one batch, for evaluation; a task that can runs its network once."""
        ...

    def decode(self, raw: Raw, batch: Batch) -> list[Prediction]: ...

    def features(self, model: nn.Module, batch: Batch) -> Features:
        """What the model's last, linear layer reads. RequestError where the task or the model has no such layer."""
        ...

    def set_head(self, model: nn.Module, weight: Tensor, bias: Tensor) -> None:
        """Put a fitted linear classifier into the model. weight: classes x F; bias: classes."""
        ...

    def merge(self, raws: Sequence[Raw], views: Sequence[Any]) -> Raw: ...

    def metric(self, info: DatasetInfo) -> Metric:
        """A new one, for data of which no more is known than ``info``; asked before ``bind`` too."""
        ...

    def quality(self, prediction: Prediction, target: Mapping[str, Any]) -> float:
        """How good one prediction is, higher is better: the report's best and worst images."""
        ...

    def right(self, prediction: Prediction, target: Mapping[str, Any]) -> bool | None:
        """Whether a prediction is right; None where the task's answers are only better or worse."""
        ...

    def caption(self, values: Mapping[str, Any]) -> str:
        """A prediction or target in a few words, for the report."""
        ...

    def draw(self, image: Pixels, answer: Mapping[str, Any]) -> Pixels:
        """The image (HxWxC uint8) with an answer or a record's annotation drawn on it, where there is something to draw."""
        ...

    def files(self, prediction: Prediction) -> Mapping[str, bytes]:
        """What the field uses for such an answer, beside Parquet: suffix (``.png``) -> contents of a file."""
        ...

    def guess(self, train: Iterable[Row]) -> Callable[[Sample], Mapping[str, Any]]:
        """The best answer that looks at no image, as a prediction's values; train: rows. What a model has to beat."""
        ...

    def starter(self, seen: Seen) -> Starter:
        """A new recipe for data like these: sections laid over those of every task."""
        ...

    def bind(self, info: DatasetInfo) -> None:
        """Told once what the dataset is (class names), before anything else."""
        ...


class BaseTask:
    """Defaults that most tasks keep."""

    schema: Schema
    answers: Mapping[str, str]
    answer: str
    usual_model: str
    info: DatasetInfo
    max_megapixels: float = MAX_MEGAPIXELS
    quality_name: str = "quality"
    compared_by: str | None = None

    def losses(self, model: nn.Module, batch: Batch) -> dict[str, Loss]:
        raise NotImplementedError

    def forward(self, model: nn.Module, batch: Batch) -> Raw:
        raise NotImplementedError

    def bind(self, info: DatasetInfo) -> None:
        self.info = info
        self.max_megapixels = info.extra.get("max_megapixels", MAX_MEGAPIXELS)

    def faults(self, cfg: Recipe) -> list[Fault]:
        faults, kinds = other_model(cfg, self.answer, self.usual_model), sorted({*self.schema.kinds.values()})
        if type(self).features is BaseTask.features:
            faults += no_head(cfg)
        if kinds:
            faults += unfit(
                cfg, "images_alone", "which changes the images alone", "changes that annotations follow"
            )
            faults += unmixable(cfg, " or ".join(kinds))
        if len(self.schema.images) > 1:
            faults += unfit(
                cfg, "one_image", "which hides the same place in each image", "changes that make up no match"
            )
        return faults

    def data_faults(self, cfg: Recipe, reader: Format) -> list[Fault]:
        return []

    def build(self, cfg: Recipe, info: DatasetInfo) -> nn.Module:
        model: nn.Module = build("model", cfg.model, cfg.image, info)
        if getattr(model, "answer", None) != self.answer:
            raise RequestError(gives_else(cfg.model.name, self.answer, self.usual_model))
        return model

    def sampler(self, cfg: Recipe, info: DatasetInfo) -> Sampler:
        return sampled(cfg, "shuffle", self.schema.stratify)

    def right(self, prediction: Prediction, target: Mapping[str, Any]) -> bool | None:
        return None

    def draw(self, image: Pixels, answer: Mapping[str, Any]) -> Pixels:
        return image

    def files(self, prediction: Prediction) -> Mapping[str, bytes]:
        return {}

    def guess(self, train: Iterable[Row]) -> Callable[[Sample], Mapping[str, Any]]:
        raise NotImplementedError

    def starter(self, seen: Seen) -> Starter:
        return {}

    def transforms(self, cfg: Recipe, split: str) -> Transform:
        """The recipe's random transforms for train, then (or before: see Fit) the model's size."""
        augment = cfg.train.augment if split == "train" else ()
        return compose(
            cfg.image,
            [build("transform", component, cfg.image) for component in augment],
            told=split != "train",
        )

    def collate(self, samples: Sequence[Sample]) -> Batch:
        """Stack images; stack tensor targets, keep the others as lists."""
        return Batch(
            ids=[s.id for s in samples],
            images={k: torch.stack([s.images[k] for s in samples]) for k in samples[0].images},
            targets={k: _stack([s.target[k] for s in samples]) for k in samples[0].target},
            placed=[s.placed for s in samples if s.placed],
            truths=[s.truth for s in samples],
        )

    def measure(self, model: nn.Module, batch: Batch) -> tuple[dict[str, Loss], Raw]:
        return self.losses(model, batch), self.forward(model, batch)

    def features(self, model: nn.Module, batch: Batch) -> Features:
        raise no_linear_layer(model)

    def set_head(self, model: nn.Module, weight: Tensor, bias: Tensor) -> None:
        raise no_linear_layer(model)

    def merge(self, raws: Sequence[Raw], views: Sequence[Any]) -> Raw:
        """Averaged; a map BCHW is first put where the view saw it, and averaged over those that saw the place."""
        maps = {k for k in raws[0] if raws[0][k].ndim == 4}
        seen = {
            k: [view.undo(raw[k]) if k in maps else raw[k] for raw, view in zip(raws, views, strict=True)]
            for k in raws[0]
        }
        return {
            k: torch.stack(values).nanmean(0) if k in maps else torch.stack(values).mean(0)
            for k, values in seen.items()
        }


def objective_by(task: Task, cfg: Recipe, info: DatasetInfo, metric: str | None) -> Objective:
    """What is compared where a figure of ``evaluate`` is named; None: the task's own objective. The metric knows its own, a loss is low."""
    own = task.objective(cfg)
    if metric is None or metric == own.metric:
        return own
    return Objective(metric, "min" if is_loss(metric) or metric in task.metric(info).lower else "max")


def is_loss(figure: str) -> bool:
    """Whether a figure of ``evaluate`` is one of ``Task.losses``, or such as well."""
    return figure.endswith("loss")


def writes_files(task: Task) -> bool:
    """Whether ``files`` gives anything."""
    return getattr(type(task), "files", None) is not BaseTask.files


def sampled(cfg: Recipe, default: str, column: str | None) -> Sampler:
    """The recipe's sampler, or the one named. column: what a row's class or identity is in, if rows have one."""
    sampler: Sampler = build(
        "sampler", cfg.train.sampler or Component(name=default), column, cfg.train.batch_size
    )
    count = cfg.train.images_per_class
    return sampler if count is None else FirstOfEach(sampler, count, column)


def _stack(values: list[Any]) -> Any:
    return torch.stack(values) if isinstance(values[0], Tensor) else values
