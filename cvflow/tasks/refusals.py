"""Faults of a recipe that is right option by option, and asks for what its task cannot do."""

from __future__ import annotations

from torch import nn

from cvflow.config import Recipe
from cvflow.errors import Fault, RequestError, one_of
from cvflow.registry import get, names


def other_model(cfg: Recipe, answer: str, usual: str) -> list[Fault]:
    """Of a model whose builder says that it gives something else. answer: what the task's models give; usual: one of them."""
    name = cfg.model.name
    given = getattr(get("model", name), "answer", answer) if name in names("model") else answer
    return [] if given == answer else [gives_else(name, answer, usual)]


def gives_else(model: str, answer: str, usual: str) -> Fault:
    fitting = [name for name in names("model") if getattr(get("model", name), "answer", None) == answer]
    return Fault(
        "model.name", f"'{model}'", f"a model of this task: {one_of(fitting)}", f"Type model.name={usual}."
    )


def no_head(cfg: Recipe) -> list[Fault]:
    """Of phases that fit a last, linear layer, for tasks whose models have none."""
    keys = [f"train.phases.{i}.kind" for i in range(len(cfg.train.phases))] or ["train.kind"]
    kinds = zip(keys, cfg.train.plan(), strict=True)
    expected = "sgd: this task's models end in no linear layer that could be fitted"
    return [
        Fault(key, "fit", expected, f"Type {key}=sgd.") for key, phase in kinds if phase.kind.name == "fit"
    ]


def unfit(cfg: Recipe, mark: str, does: str, expected: str) -> list[Fault]:
    """Of the transforms of train that bear a mark, an attribute that is true. does: what is wrong with them."""
    return [
        Fault(f"train.augment.{i}", f"{component.name}, {does}", expected, "Leave it out.")
        for i, component in enumerate(cfg.train.augment)
        if component.name in names("transform") and getattr(get("transform", component.name), mark, False)
    ]


def unmixable(cfg: Recipe, annotation: str) -> list[Fault]:
    """Of mixing images, for tasks where two annotations are no third one. annotation: what they are, in a word."""
    mix, expected = cfg.train.mix, f"whole images: a mixture has no {annotation} of its own"
    return [Fault("train.mix", mix.name, expected, "Leave it out.")] if mix else []


def no_linear_layer(model: nn.Module) -> RequestError:
    """The error of a ``fit`` phase where there is nothing to fit."""
    got = f"fit with a {type(model).__name__}"
    return RequestError(
        Fault("train.kind", got, "a classifier that ends in one linear layer", "Type train.kind=sgd.")
    )
