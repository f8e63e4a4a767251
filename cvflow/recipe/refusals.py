"""What a recipe asks for that its task cannot do, though each option is right by itself.

Each rule is ``(recipe, task) -> faults``. Transforms and views state their effects on the pixels,
kinds of annotation state which effects they survive, and models which answer they give; the rules
compare, and know no task.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cvflow.annotations import KINDS
from cvflow.config import Recipe
from cvflow.effects import (
    HIDES_ONE_PLACE,
    IMAGES_ALONE,
    LEAVES_ROWS,
    MIRRORS,
    SWAPS_SIDES,
    Effect,
    effects_of,
)
from cvflow.errors import Fault, RequestError
from cvflow.formats.record import Format
from cvflow.registry import Component, check, get, names
from cvflow.tasks.base import Linear, Task, other_answer, sampler_of

Rule = Callable[[Recipe, Task], list[Fault]]


def refusals(recipe: Recipe, task: Task) -> list[Fault]:
    """Return the faults of all rules."""
    faults = []
    for rule in RULES:
        faults += rule(recipe, task)
    return faults


def model_gives_the_answer(recipe: Recipe, task: Task) -> list[Fault]:
    """The model's builder may say what it gives; one that says nothing is asked when it is built."""
    name = recipe.model.name
    if name not in names("model"):
        return []
    answer = getattr(get("model", name), "answer", task.answer.name)
    return [] if answer == task.answer.name else [other_answer(name, task.answer, task.usual_model)]


def fit_has_a_linear_layer(recipe: Recipe, task: Task) -> list[Fault]:
    """A phase can only fit the linear layers of tasks that have some."""
    if isinstance(task, Linear):
        return []
    keys = [f"train.phases.{index}.kind" for index in range(len(recipe.train.phases))] or ["train.kind"]
    expected = "sgd: this task's models end in no linear layer that could be fitted"
    faults = []
    for key, phase in zip(keys, recipe.train.plan(), strict=True):
        if phase.kind.name == "fit":
            faults.append(Fault(key, "fit", expected, f"Type {key}=sgd."))
    return faults


def annotations_survive_transforms(recipe: Recipe, task: Task) -> list[Fault]:
    """Each effect of a transform must be survived by every annotation that lies in the pixels."""
    faults = []
    for effect in (IMAGES_ALONE, HIDES_ONE_PLACE, LEAVES_ROWS):
        if not survived(effect, task):
            faults += transforms_with(effect, recipe, effect.does, effect.instead)
    return faults


def annotations_survive_mixing(recipe: Recipe, task: Task) -> list[Fault]:
    """Classes can be mixed by their shares; two maps, boxes or identities make up no third one."""
    mix = recipe.train.mix
    unmixable = sorted({*task.schema.kinds.values()})
    if task.schema.identity:
        unmixable.append(task.schema.identity)
    if mix is None or not unmixable:
        return []
    expected = f"whole images: a mixture has no {' or '.join(unmixable)} of its own"
    return [Fault("train.mix", mix.name, expected, "Leave it out.")]


def sampler_fills_a_batch(recipe: Recipe, task: Task) -> list[Fault]:
    """A sampler with a wrong option has its own fault already."""
    if recipe.train.sampler and check("sampler", recipe.train.sampler, "train.sampler")[1]:
        return []
    try:
        sampler_of(recipe, task.schema, task.default_sampler)
    except RequestError as error:
        return list(error.faults)
    return []


def annotations_survive_views(recipe: Recipe, task: Task) -> list[Fault]:
    """The same for test-time views, whose answers are merged."""
    faults = view_faults(task, recipe.evaluate.views, "evaluate.views")
    return faults + view_faults(task, recipe.predict.views, "predict.views")


RULES: tuple[Rule, ...] = (
    model_gives_the_answer,
    fit_has_a_linear_layer,
    annotations_survive_transforms,
    annotations_survive_mixing,
    sampler_fills_a_batch,
    annotations_survive_views,
)


def view_faults(task: Task, views: Sequence[Component], where: str) -> list[Fault]:
    """Return the faults of test-time views whose merged answers would be wrong. where: the key that
    names them.
    """
    if survived(SWAPS_SIDES, task):
        return []
    for view in views:
        if view.name in names("view") and SWAPS_SIDES in effects_of(get("view", view.name)):
            got, fix = f"{view.name} {SWAPS_SIDES.does}", f"Leave {view.name} out."
            return [Fault(where, got, SWAPS_SIDES.instead, fix)]
    return []


def data_refusals(recipe: Recipe, task: Task, reader: Format) -> list[Fault]:
    """Return what cannot be done with these data, as far as the records say without their images.

    If left and right are mirrored, annotations that change places must come with their counterparts.
    """
    swaps = task.schema.swaps
    if not swaps or not transforms_with(MIRRORS, recipe, "", ""):
        return []
    for record in reader:
        if record.split not in (None, "train"):
            continue
        for name, counterpart in swaps.items():
            if name in record.maps and counterpart not in record.maps:
                does = f"without '{counterpart}' of '{record.id}'"
                instead = f"'{counterpart}', which a mirrored pair needs"
                return transforms_with(MIRRORS, recipe, does, instead)
    return []


def survived(effect: Effect, task: Task) -> bool:
    """Return whether every annotation of the task that lies in the pixels stays right."""
    return all(effect in KINDS[kind].survives for kind in task.schema.kinds.values())


def transforms_with(effect: Effect, recipe: Recipe, does: str, instead: str) -> list[Fault]:
    """Return a fault for each transform of train that has the effect. does: what is wrong with it."""
    faults = []
    for index, component in enumerate(recipe.train.augment):
        if component.name in names("transform") and effect in effects_of(get("transform", component.name)):
            got = f"{component.name}, {does}"
            faults.append(Fault(f"train.augment.{index}", got, instead, "Leave it out."))
    return faults
