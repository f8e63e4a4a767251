"""The images of a report: the worst and the best answers, and what augmentation made of training images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Literal

import numpy as np

from cvflow.config import Recipe
from cvflow.data.annotations import as_in_a_row
from cvflow.data.images import Pixels
from cvflow.data.loader import BatchSet, Plan
from cvflow.draw import Gallery, Item, Strips
from cvflow.draw.images import beside
from cvflow.engine.phases.sgd import at_size
from cvflow.stages.finished import Finished, Shown
from cvflow.tasks.base import Task
from cvflow.types import Batch

SHOWN = 12
"""Images in each gallery."""
AUGMENTED = 5
EPOCHS = 6
SIDE, DRAWN_SIDE = 96, 192
"""Of an augmented image, pixels; of one that has its annotation drawn on it."""
TONES: Mapping[bool | None, Literal["good", "bad", ""]] = {True: "good", False: "bad", None: ""}


def galleries(done: Finished) -> Iterator[Gallery]:
    """The worst and the best answers by the task's own measure, where it has one for a single answer."""
    if not np.isfinite(done.quality).any():
        return
    order = np.argsort(done.quality, kind="stable").tolist()
    for title, picked in (("Worst answers", order[:SHOWN]), ("Best answers", order[::-1][:SHOWN])):
        answers = done.answers(picked)
        found = done.find(answer["id"] for answer in answers)
        yield Gallery([item(done, found[answer["id"]], answer) for answer in answers], title)


def item(done: Finished, shown: Shown, answer: Mapping[str, Any]) -> Item:
    """One image with truth and answer, beside each other where they are drawn."""
    caption = f"{done.task.caption(shown.truth)}, answered {done.task.caption(answer)}"
    if not answer.get("right"):
        caption += f", {done.task.quality_name} {answer['quality']:.2g}"  # what they are sorted by
    drawn = beside(*(done.draw(shown, values) for values in (shown.truth, answer)))
    return Item(drawn, caption, TONES[answer.get("right")], str(shown.row["path"]))


def augmented(done: Finished) -> Iterator[Strips]:
    """A few training images and what the first epochs saw of them: the same transforms, seeded as the loader seeds them."""
    recipe = done.recipe
    phases = list(islice((phase for phase in recipe.train.plan() for _ in range(phase.epochs)), EPOCHS))
    sizes = [at_size(recipe, phase) for phase in phases]
    if not recipe.train.augment or not sizes:
        return
    rows = done.dataset.split("train")
    picked = [i * len(rows) // AUGMENTED for i in range(min(AUGMENTED, len(rows)))]
    lines = [(str(rows[i]["path"]), variants(done, sizes, i)) for i in picked]
    side = DRAWN_SIDE if done.task.schema.kinds else SIDE
    yield Strips(["plain", *(f"epoch {epoch + 1}" for epoch in range(len(sizes)))], lines, side=side)


def variants(done: Finished, sizes: Sequence[Recipe], index: int) -> list[Pixels]:
    """A training row's first sample plain, and in each epoch. sizes: the recipe at each epoch's image size."""
    rows, recipe = done.dataset.split("train"), done.recipe
    plain = BatchSet(done.task, rows, done.task.transforms(recipe, "test"), None)[Plan([(0, index, 0)])]
    transforms = [done.task.transforms(at, "train") for at in sizes]
    seen = [BatchSet(done.task, rows, t, recipe.seed)[Plan([(epoch, index, 0)])] for epoch, t in enumerate(transforms)]
    return [first_of(batch, done.task) for batch in (plain, *seen)]


def first_of(batch: Batch, task: Task) -> Pixels:
    """A batch's first image as the network sees it, and drawn on it the annotation that moved with its pixels."""
    pixels: Pixels = batch.images[task.schema.images[0]][0].permute(1, 2, 0).contiguous().numpy()
    if not task.schema.kinds:
        return pixels
    target = {name: values[0].numpy() for name, values in batch.targets.items()}
    return task.draw(pixels, as_in_a_row(task.schema.kinds, target))
