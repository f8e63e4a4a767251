"""The answer protocol: what stages and verbs ask about a task's predictions.

Several tasks can give the same kind of answer. A model says which kind it gives by its attribute
``answer``, the ``name`` here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from cvflow.annotations.image import Pixels
from cvflow.types import DatasetInfo, Direction, Objective, Prediction, Row

Figures = Mapping[str, Direction]
"""Name of a metric -> whether a greater or a smaller value is better."""

Guess = Callable[[Row], Mapping[str, Any]]
"""A row -> the values of a prediction that was made without looking at the image."""


class Metric(Protocol):
    """How good the predictions of a split are.

    Mergeable over workers: ``state`` is plain data, ``merge`` adds another's state.
    """

    def update(self, predictions: Sequence[Prediction], targets: Sequence[Mapping[str, Any]]) -> None: ...

    def state(self) -> Any: ...

    def merge(self, state: Any) -> None: ...

    def compute(self) -> dict[str, float]: ...

    def details(self) -> dict[str, Any]:
        """Return what the report draws beside the numbers (a confusion matrix, say), as plain data."""
        ...


class Answer(Protocol):
    """One kind of answer.

    name: what models that give it have as their attribute ``answer``.
    columns: the columns of a prediction, name -> Arrow type name.
    heavy: the columns with encoded maps, which an evaluation does not keep: predict writes them.
    quality_name: what ``quality`` measures, in a word or two.

    A truth is a row's annotations by name, decoded; ``caption`` and ``draw`` also take a row's own
    (encoded) values.
    """

    name: str
    columns: Mapping[str, str]
    heavy: frozenset[str]
    quality_name: str

    @property
    def figures(self) -> Figures:
        """The metrics that there can be, the objective first; once ``bind`` was called, those of
        this dataset.
        """
        ...

    def bind(self, info: DatasetInfo) -> None:
        """Take in what the dataset is (class names); called before everything below."""
        ...

    def metric(self, info: DatasetInfo) -> Metric:
        """Return a new metric, which has seen no prediction."""
        ...

    def quality(self, prediction: Prediction, truth: Mapping[str, Any]) -> float:
        """Return how good one prediction is, higher is better.

        The report's worst and best images are sorted by it.
        """
        ...

    def right(self, prediction: Prediction, truth: Mapping[str, Any]) -> bool | None:
        """Return whether a prediction is right; None if such answers are only better or worse."""
        ...

    def caption(self, values: Mapping[str, Any]) -> str:
        """Return a prediction, or an annotation, in a few words."""
        ...

    def draw(self, image: Pixels, values: Mapping[str, Any]) -> Pixels:
        """Return the image (HxWxC uint8) with a prediction, or an annotation, drawn on it."""
        ...

    def files(self, prediction: Prediction) -> Mapping[str, bytes]:
        """Return the field's own file formats of a prediction: suffix (``.png``) -> contents of the file."""
        ...

    def guess(self, train: Iterable[Row]) -> Guess:
        """Return the best answer that looks at no image, learnt from the rows of train.

        A model has to beat it.
        """
        ...


@runtime_checkable
class Comparable(Protocol):
    """An answer with a vector by which images can be compared. compared_by: its column."""

    compared_by: str


class BaseAnswer:
    """Defaults that most answers keep."""

    name: str
    columns: Mapping[str, str]
    heavy: frozenset[str] = frozenset()
    quality_name = "quality"
    figures: Figures
    info: DatasetInfo

    def bind(self, info: DatasetInfo) -> None:
        self.info = info

    def right(self, prediction: Prediction, truth: Mapping[str, Any]) -> bool | None:
        return None

    def draw(self, image: Pixels, values: Mapping[str, Any]) -> Pixels:
        return image

    def files(self, prediction: Prediction) -> Mapping[str, bytes]:
        return {}

    def guess(self, train: Iterable[Row]) -> Guess:
        raise NotImplementedError


def writes_files(answer: Answer) -> bool:
    """Return whether ``files`` gives anything."""
    return getattr(type(answer), "files", None) is not BaseAnswer.files


def is_loss(figure: str) -> bool:
    """Return whether a figure of ``evaluate`` is one of the task's losses, whose names end in ``loss``."""
    return figure.endswith("loss")


def objective_of(answer: Answer, metric: str | None = None) -> Objective:
    """Return the objective that a named figure of ``evaluate`` is; with None, the answer's own, its
    first figure.
    """
    figures = answer.figures
    if metric is None:
        metric = next(iter(figures))
    if metric in figures:
        return Objective(metric, figures[metric])
    return Objective(metric, "min" if is_loss(metric) else "max")
