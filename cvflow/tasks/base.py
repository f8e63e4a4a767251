"""The task protocol: everything above it is generic.

What differs between tasks is a method here, never a branch elsewhere. Rows go in and answers come
out; in between, a task makes samples of a row, which nobody above sees. Shapes: B batch, C
channels, H W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from cvflow.annotations.image import MAX_MEGAPIXELS, decode
from cvflow.answers.base import Answer
from cvflow.config import Recipe
from cvflow.errors import Fault, RequestError, one_of
from cvflow.loading.loader import Rows
from cvflow.loading.samplers import FirstOfEach, Sampler
from cvflow.loading.transforms import compose
from cvflow.ops.place import Place
from cvflow.registry import Component, build, get, names
from cvflow.types import Batch, DatasetInfo, Loss, Outputs, Prediction, Raw, Row, Sample, Schema

Transform = Callable[[Sample], Sample]
"""To the model's size; random ones draw from torch's global generator, which the loader seeds per sample."""


class View(Protocol):
    """A test-time view. place: how the whole image lies in it, both as unit squares."""

    @property
    def place(self) -> Place: ...

    def undo(self, map_BCHW: Tensor) -> Tensor:
        """Return a map of what the view shows where it belongs in the whole image, NaN elsewhere."""
        ...


class Task(Protocol):
    """One vision task.

    schema: the columns of a prepared row. answer: what its predictions are. usual_model: a model
    that fits it. default_sampler: the sampler if the recipe names none. max_megapixels: the
    dataset's limit; larger images are not read.
    """

    schema: Schema
    answer: Answer
    usual_model: str
    default_sampler: str
    max_megapixels: float

    def bind(self, info: DatasetInfo) -> None:
        """Take in what the dataset is (class names); called once, before everything below."""
        ...

    def count(self, rows: Rows) -> Sequence[int] | None:
        """Return how many samples each row has, read off a column that is cheap to read; None: one each."""
        ...

    def samples(self, row: Row) -> Iterable[Sample]:
        """Return how a model looks at a row: whole, by crops, by tiles.

        As many as ``count`` says, or none.
        """
        ...

    def transforms(self, cfg: Recipe, split: str) -> Transform:
        """Return what is done to a sample: for train random changes, for each split to the model's size."""
        ...

    def sampler(self, cfg: Recipe, info: DatasetInfo) -> Sampler:
        """Return what orders the rows of an epoch."""
        ...

    def collate(self, samples: Sequence[Sample]) -> Batch:
        """Return samples as a batch."""
        ...

    def build(self, cfg: Recipe, info: DatasetInfo) -> nn.Module:
        """Return the recipe's model for this dataset."""
        ...

    def outputs(self, model: nn.Module, batch: Batch) -> Outputs:
        """Run the network, once; differentiable. In training it may read the targets."""
        ...

    def losses(self, outputs: Outputs, batch: Batch) -> dict[str, Loss]:
        """Return the losses, by names that end in ``loss``."""
        ...

    def raw(self, outputs: Outputs, batch: Batch) -> Raw:
        """Return what is to be decoded: tensors whose first dimension is the batch."""
        ...

    def merge(self, raws: Sequence[Raw], views: Sequence[View]) -> Raw:
        """Return the merged raw results of test-time views of the same samples."""
        ...

    def decode(self, raw: Raw, batch: Batch) -> list[Prediction]:
        """Return a prediction for each sample, in the original's pixels."""
        ...

    def join(self, row: Row, predictions: Sequence[Prediction]) -> Prediction:
        """Return the answer to a row from the predictions for its samples, of which there may be none."""
        ...


class Features(NamedTuple):
    """What a linear layer is fitted to. x: B x F; label: B, the index of the class; weight: B, how
    much each counts.
    """

    x: Tensor
    label: Tensor
    weight: Tensor


@runtime_checkable
class Linear(Protocol):
    """A task with linear layers that a ``fit`` phase can solve for, each by its name."""

    def problems(self, model: nn.Module, batch: Batch) -> dict[str, Features]:
        """Return what each linear layer reads. RequestError if this model has no such layer."""
        ...

    def num_classes(self, name: str) -> int:
        """Return how many classes the named problem has."""
        ...

    def set_linear(self, model: nn.Module, name: str, weight: Tensor, bias: Tensor) -> None:
        """Put a solution into the model. weight: classes x F; bias: classes."""
        ...


class BaseTask:
    """Defaults that most tasks keep."""

    schema: Schema
    answer: Answer
    usual_model: str
    info: DatasetInfo
    default_sampler = "shuffle"
    max_megapixels: float = MAX_MEGAPIXELS

    def bind(self, info: DatasetInfo) -> None:
        self.info = info
        self.max_megapixels = info.extra.get("max_megapixels", MAX_MEGAPIXELS)
        self.answer.bind(info)

    def count(self, rows: Rows) -> Sequence[int] | None:
        return None

    def build(self, cfg: Recipe, info: DatasetInfo) -> nn.Module:
        model: nn.Module = build("model", cfg.model, cfg.image, info)
        if getattr(model, "answer", None) != self.answer.name:
            raise RequestError(other_answer(cfg.model.name, self.answer, self.usual_model))
        return model

    def sampler(self, cfg: Recipe, info: DatasetInfo) -> Sampler:
        return sampler_of(cfg, self.schema, self.default_sampler)

    def transforms(self, cfg: Recipe, split: str) -> Transform:
        """The recipe's random transforms for train, then (or before: see Fit) the model's size."""
        augment = cfg.train.augment if split == "train" else ()
        return compose(cfg.image, [build("transform", component, cfg.image) for component in augment])

    def collate(self, samples: Sequence[Sample]) -> Batch:
        """Stack images; stack tensor targets, keep the others as lists."""
        first = samples[0]
        return Batch(
            ids=[sample.id for sample in samples],
            images={name: torch.stack([sample.images[name] for sample in samples]) for name in first.images},
            targets={name: _stack([sample.target[name] for sample in samples]) for name in first.target},
            placed=[sample.placed for sample in samples if sample.placed],
        )

    def merge(self, raws: Sequence[Raw], views: Sequence[View]) -> Raw:
        """Average. Maps BCHW are first put where the view saw them, and averaged over the views
        that saw the place.
        """
        merged = {}
        for name, first in raws[0].items():
            if first.ndim == 4:
                maps = [view.undo(raw[name]) for raw, view in zip(raws, views, strict=True)]
                merged[name] = torch.stack(maps).nanmean(0)
            else:
                merged[name] = torch.stack([raw[name] for raw in raws]).mean(0)
        return merged

    def join(self, row: Row, predictions: Sequence[Prediction]) -> Prediction:
        """The prediction for the row's only sample."""
        (prediction,) = predictions
        return prediction


def read_image(data: bytes, max_megapixels: float) -> Tensor:
    """Return an encoded image as a uint8 tensor CHW, 0..255. ImageFault if it cannot be read."""
    return torch.from_numpy(decode(data, max_megapixels=max_megapixels)).permute(2, 0, 1)


def other_answer(model: str, answer: Answer, usual_model: str) -> Fault:
    """Return the fault of a model that gives another kind of answer than the task needs."""
    fitting = [name for name in names("model") if getattr(get("model", name), "answer", None) == answer.name]
    expected = f"a model of this task: {one_of(fitting)}"
    return Fault("model.name", f"'{model}'", expected, f"Type model.name={usual_model}.")


def no_linear_layer(model: nn.Module) -> RequestError:
    """Return the error of a ``fit`` phase whose model ends in no linear layer."""
    got = f"fit with a {type(model).__name__}"
    expected = "a classifier that ends in one linear layer"
    return RequestError(Fault("train.kind", got, expected, "Type train.kind=sgd."))


def sampler_of(cfg: Recipe, schema: Schema, default: str) -> Sampler:
    """Return the recipe's sampler, or the default one. RequestError if it cannot fill a batch."""
    column = schema.identity or schema.stratify
    component = cfg.train.sampler or Component(name=default)
    sampler: Sampler = build("sampler", component, column, cfg.train.batch_size)
    count = cfg.train.images_per_class
    return sampler if count is None else FirstOfEach(sampler, count, column)


def _stack(values: list[Any]) -> Any:
    return torch.stack(values) if isinstance(values[0], Tensor) else values
