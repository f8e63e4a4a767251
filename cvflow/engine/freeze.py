"""What a phase trains: everything, or only what comes after a named part of the model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from torch import nn

from cvflow.config import Phase
from cvflow.errors import Fault, RequestError, did_you_mean, one_of


def trainable(model: nn.Module, phase: Phase) -> list[nn.Parameter]:
    """The parameters that the phase trains; the others are frozen."""
    model.requires_grad_(True)
    for part in frozen(model, phase):
        part.requires_grad_(False)
    return [p for p in model.parameters() if p.requires_grad]


def set_mode(model: nn.Module, phase: Phase) -> None:
    """Training mode, frozen parts left in evaluation mode (batch norms keep their averages, dropout rests)."""
    model.train()
    for part in frozen(model, phase):
        part.eval()


def check_freezes(model: nn.Module, plan: Iterable[Phase]) -> None:
    """Raise RequestError for every phase whose ``freeze`` names no part, or leaves nothing to train."""
    faults = []
    for phase in plan:
        try:
            if not any(p.requires_grad for p in trainable(model, phase)):
                fix = "Name an earlier part, or type train.freeze=none."
                faults.append(
                    Fault(
                        "train.freeze",
                        f"'{phase.freeze}', after which nothing is trained",
                        "an earlier part",
                        fix,
                    )
                )
        except RequestError as error:
            faults += error.faults
    model.requires_grad_(True)
    if faults:
        raise RequestError(*dict.fromkeys(faults))


def frozen(model: nn.Module, phase: Phase) -> Iterator[nn.Module]:
    """The modules up to and including the part that ``freeze`` names, in the order of their definition."""
    if phase.freeze == "none":
        return
    check_part(model, phase.freeze)
    at = model
    for name in phase.freeze.split("."):
        children = dict(at.named_children())
        yield from list(children.values())[: list(children).index(name)]
        at = children[name]
    yield at


def check_part(model: nn.Module, name: str) -> None:
    """Raise RequestError, with the names there are at the first level that is wrong, where the model has no such part."""
    parts = [
        part for part, module in model.named_modules() if part and any(True for _ in module.parameters())
    ]
    if name in parts:
        return
    above = name
    while above and above not in parts:
        above = above.rpartition(".")[0]
    here = [part for part in parts if part.rpartition(".")[0] == above]
    meant = next((part for part in parts if part.endswith(f".{name}")), None)
    hint = f"Did you mean '{meant}'?" if meant else did_you_mean(name, parts)
    raise RequestError(
        Fault("train.freeze", f"'{name}'", f"none, or a part of {type(model).__name__}: {one_of(here)}", hint)
    )
