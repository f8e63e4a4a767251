"""``cvflow learning-curve``: the same recipe trained on ever more images a class; the test metric against their number."""

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
    """images: a class, as asked; trained_on: in all, as there are. metrics: on the recipe's evaluation split."""

    images: int
    trained_on: int
    run: str
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class LearningCurve:
    objective: str
    points: Sequence[Point]
    plot: str

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def parse_images(text: str) -> list[int]:
    """``1,2,4`` as numbers above 0."""
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() and int(word) for word in words):
        raise RequestError(
            Fault("--images", f"'{text}'", "numbers above 0 with commas", "Type --images 1,2,4,8.")
        )
    return [int(word) for word in words]


def learning_curve(
    recipe: str, images: Sequence[int], overrides: Mapping[str, Any], name: str | None, quiet: bool = False, verbose: bool = False
) -> LearningCurve:  # fmt: skip
    """One run a number of images, ``<name>-n<images>``; what was run before is skipped. The page is written after each.

    Each has a registered model of its own, so that the recipe's own champion is not disturbed. Where one fails, those
    done are kept.
    """
    _, base = requested(recipe, name)
    points: list[Point] = []
    for count in sorted(set(images)):
        member = f"{base}-n{count}"
        sys.stderr.write(f"\n{member}: {count} images a class\n")
        own = {
            "train.images_per_class": count,
            "register.model": member,
            "tracking.experiment": f"{base}-learning-curve",
        }
        try:
            outcome = run_pipeline(recipe, {**overrides, **own}, member, quiet=quiet, verbose=verbose)
        except CvflowError:
            if points:
                sys.stderr.write(f"{len(points)} of {len(set(images))} points are done: {plot_of(base)}\n")
            raise
        points.append(point_of(count, outcome))
        curve = LearningCurve(objective_of(Run(member)).metric, points, str(plot_of(base)))
        write(base, curve, outcome.split)
    return curve


def point_of(count: int, outcome: Outcome) -> Point:
    by_class = PreparedDataset(Run(outcome.run).path("data")).info.extra["class_counts"]["train"]
    return Point(count, sum(min(count, there) for there in by_class.values()), outcome.run, outcome.metrics)


def objective_of(run: Run) -> Objective:
    """Return what the run's models are compared by."""
    task = make_task(run.recipe, PreparedDataset(run.path("data")).info)
    return answers.objective_of(task.answer)


def plot_of(base: str) -> Path:
    return Run(base).path("learning-curve.html")


def write(base: str, curve: LearningCurve, split: str) -> None:
    """The page, and the same as JSON beside it."""
    plot, points = plot_of(base), curve.points
    plot.parent.mkdir(parents=True, exist_ok=True)
    names = [curve.objective, *(name for name in points[0].metrics if name != curve.objective)]
    rows = [[p.images, p.trained_on, *(p.metrics.get(name) for name in names), p.run] for p in points]
    label = f"{split} {curve.objective}"
    blocks: list[Block] = [
        Curves(
            label,
            {label: [(p.images, p.metrics[curve.objective]) for p in points]},
            x_label="training images a class",
            x_log=True,
        ),
        Table(["images a class", "images in all", *names, "run"], rows, "Points"),
    ]
    note = "The same recipe, each time with the images of the smaller ones and more."
    plot.write_text(
        page(f"{base}: learning curve", [Section("Learning curve", blocks, note)]), encoding="utf-8"
    )
    plot.with_suffix(".json").write_text(json.dumps(curve.to_dict(), indent=1) + "\n")
