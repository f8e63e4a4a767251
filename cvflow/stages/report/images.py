"""The images of a report: the worst and the best answers, and what training saw of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, repeat
from typing import Any, Literal

import numpy as np

from cvflow.annotations import encode_target
from cvflow.annotations.image import Pixels
from cvflow.config import Recipe
from cvflow.draw import Gallery, Item, Strips
from cvflow.draw.images import beside
from cvflow.engine.phases.steps import at_size
from cvflow.loading.division import items_of
from cvflow.loading.loader import BatchSet, Key, Plan, row_alone
from cvflow.loading.mixing import Mix
from cvflow.registry import build, get
from cvflow.stages.report.finished_run import Finished, Shown
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
        rows_by_id = done.find(answer["id"] for answer in answers)
        yield Gallery([item(done, rows_by_id[answer["id"]], answer) for answer in answers], title)


def item(done: Finished, shown: Shown, answer: Mapping[str, Any]) -> Item:
    """One image with truth and answer, beside each other where they are drawn."""
    caption = f"{done.task.answer.caption(shown.truth)}, answered {done.task.answer.caption(answer)}"
    if not answer.get("right"):
        # what they are sorted by
        caption += f", {done.task.answer.quality_name} {answer['quality']:.2g}"
    drawn = beside(*(done.draw(shown, values) for values in (shown.truth, answer)))
    return Item(drawn, caption, TONES[answer.get("right")], str(shown.row["path"]))


def augmented(done: Finished) -> Iterator[Strips]:
    """A few training images and what the first augmented epochs saw of them."""
    recipe = done.recipe
    if not (recipe.train.augment or recipe.train.mix):
        return
    epochs = [Epoch(done, number, epoch_recipe) for number, epoch_recipe in islice(stepped(recipe), EPOCHS)]
    if not epochs:
        return
    rows = done.dataset.split("train")
    taken = sorted(set.intersection(*(epoch.taken for epoch in epochs))) or range(len(rows))
    picked = [taken[i * len(taken) // AUGMENTED] for i in range(min(AUGMENTED, len(taken)))]
    lines = [(str(rows[i]["path"]), variants(done, epochs, i)) for i in picked]
    side = DRAWN_SIDE if done.task.schema.kinds else SIDE
    yield Strips(["plain", *(f"epoch {epoch.number + 1}" for epoch in epochs)], lines, side=side)


def stepped(recipe: Recipe) -> Iterator[tuple[int, Recipe]]:
    """(number, the recipe at its image size) of each epoch but those of phases that augment nothing."""
    number = 0
    for phase in recipe.train.plan():
        alone = getattr(get("phase", phase.kind.name), "one_pass", False)
        epochs = 1 if alone else phase.epochs
        if not alone:
            yield from zip(range(number, number + epochs), repeat(at_size(recipe, phase)), strict=False)
        number += epochs


class Epoch:
    """The training rows of an epoch as the network saw them: in the same order, seeded and mixed as
    the loader does it.
    """

    def __init__(self, done: Finished, number: int, recipe: Recipe) -> None:
        self.number, self._recipe, rows = number, recipe, done.dataset.split("train")
        order = done.task.sampler(recipe, done.dataset.info).order(rows, recipe.seed, number)
        self._order = items_of(order, done.task.count(rows))
        self._mix: Mix | None = build("mix", recipe.train.mix) if recipe.train.mix else None
        self._batches = BatchSet(
            done.task, rows, done.task.transforms(recipe, "train"), recipe.seed, self._mix
        )

    @property
    def taken(self) -> set[int]:
        """The rows in its batches: a last short one is dropped."""
        size = min(self._recipe.train.batch_size, len(self._order))
        return {row for row, _ in self._order[: len(self._order) // size * size]}

    def __getitem__(self, row: int) -> Batch:
        train, seed = self._recipe.train, self._recipe.seed
        return self._batches[row_alone(row, self._order, train.batch_size, self.number, seed, self._mix)]


def variants(done: Finished, epochs: Sequence[Epoch], index: int) -> list[Pixels]:
    """A training row's first sample plain, and in each epoch."""
    rows = done.dataset.split("train")
    plain = BatchSet(done.task, rows, done.task.transforms(done.recipe, "test"), None)[
        Plan([Key(0, index, 0, 0)])
    ]
    return [first_of(batch, done.task) for batch in (plain, *(epoch[index] for epoch in epochs))]


def first_of(batch: Batch, task: Task) -> Pixels:
    """A batch's first image as the network sees it, and drawn on it the annotation that moved with
    its pixels.
    """
    pixels: Pixels = batch.images[task.schema.images[0]][0].permute(1, 2, 0).contiguous().numpy()
    if not task.schema.kinds:
        return pixels
    target = {name: values[0].numpy() for name, values in batch.targets.items()}
    return task.answer.draw(pixels, encode_target(task.schema.kinds, target))
