"""``cvflow learning-curve``: a recipe trained on ever more images a class; the metric by their number."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cvflow.answers import base as answers
from cvflow.dataset.prepared import PreparedDataset
from cvflow.draw import Block, Curves, Section, Table, page
from cvflow.engine.job import make_task
from cvflow.errors import CvflowError, Fault, RequestError
from cvflow.project.graph import Run
from cvflow.project.pipeline import Outcome, requested
from cvflow.project.pipeline import run as run_pipeline
from cvflow.types import Objective


@dataclass(frozen=True)
class Point:
    """One training of the curve.

    images: of each class, as asked for. trained_on: images in all, which may be fewer. metrics: on the
    recipe's evaluation split.
    """

    images: int
    trained_on: int
    run: str
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class LearningCurve:
    """The points in the order of their images. plot: path of the page."""

    objective: str
    points: Sequence[Point]
    plot: str

    def to_dict(self) -> dict[str, Any]:
        """Return JSON data."""
        return asdict(self)


def parse_images(text: str) -> list[int]:
    """Parse ``1,2,4`` as numbers above 0."""
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() and int(word) for word in words):
        expected = "numbers above 0 with commas"
        raise RequestError(Fault("--images", f"'{text}'", expected, "Type --images 1,2,4,8."))
    return list(map(int, words))


def learning_curve(
    recipe: str,
    images: Sequence[int],
    overrides: Mapping[str, Any],
    name: str | None,
    quiet: bool = False,
    verbose: bool = False,
) -> LearningCurve:
    """Train a run ``<name>-n<images>`` for each number of images; write the page after each.

    A run that is there already is skipped. Each has a registered model of its own, so the recipe's
    champion stays what it is. If one fails, those before it are kept.
    """
    _, base = requested(recipe, name)
    counts = sorted(set(images))
    points: list[Point] = []
    for count in counts:
        member = f"{base}-n{count}"
        sys.stderr.write(f"\n{member}: {count} images a class\n")
        changes = {
            **overrides,
            "train.images_per_class": count,
            "register.model": member,
            "tracking.experiment": f"{base}-learning-curve",
        }
        try:
            outcome = run_pipeline(recipe, changes, member, quiet=quiet, verbose=verbose)
        except CvflowError:
            if points:
                sys.stderr.write(f"{len(points)} of {len(counts)} points are done: {plot_of(base)}\n")
            raise
        points.append(point_of(count, outcome))
        # after each training, so that a later failure leaves a page of those before
        curve = LearningCurve(objective_of(Run(member)).metric, points, str(plot_of(base)))
        write(base, curve, outcome.split)
    return curve


def point_of(count: int, outcome: Outcome) -> Point:
    """Return the point of a run with ``count`` images of each class, or as many as there are."""
    info = PreparedDataset(Run(outcome.run).path("data")).info
    class_counts = info.extra["class_counts"]["train"].values()
    trained_on = sum(min(count, available) for available in class_counts)
    return Point(count, trained_on, outcome.run, outcome.metrics)


def objective_of(run: Run) -> Objective:
    """Return what the run's models are compared by."""
    task = make_task(run.recipe, PreparedDataset(run.path("data")).info)
    return answers.objective_of(task.answer)


def plot_of(base: str) -> Path:
    """Return the path of the page."""
    return Run(base).path("learning-curve.html")


def write(base: str, curve: LearningCurve, split: str) -> None:
    """Write the page, and the same as JSON beside it."""
    plot = plot_of(base)
    plot.parent.mkdir(parents=True, exist_ok=True)
    blocks: list[Block] = [figure(curve, f"{split} {curve.objective}"), table(curve)]
    note = "The same recipe, each time with the images of the smaller ones and more."
    section = Section("Learning curve", blocks, note)
    plot.write_text(page(f"{base}: learning curve", [section]), encoding="utf-8")
    plot.with_suffix(".json").write_text(json.dumps(curve.to_dict(), indent=1) + "\n")


def figure(curve: LearningCurve, label: str) -> Curves:
    """Return the objective by the number of images."""
    points = []
    for point in curve.points:
        points.append((point.images, point.metrics[curve.objective]))
    return Curves(label, {label: points}, x_label="training images a class", x_log=True)


def table(curve: LearningCurve) -> Table:
    """Return all metrics of each point, the objective first."""
    names = list(curve.points[0].metrics)
    names.remove(curve.objective)
    names.insert(0, curve.objective)
    rows = []
    for point in curve.points:
        metrics = [point.metrics.get(name) for name in names]
        rows.append([point.images, point.trained_on, *metrics, point.run])
    return Table(["images a class", "images in all", *names, "run"], rows, "Points")
