"""Which parameters a phase trains: all, or only those after a named part of the model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from torch import nn

from cvflow.config import Phase
from cvflow.errors import Fault, RequestError, did_you_mean, one_of


def trainable(model: nn.Module, phase: Phase) -> list[nn.Parameter]:
    """Freeze what the phase does not train, and return the parameters that it trains."""
    model.requires_grad_(True)
    for part in frozen(model, phase):
        part.requires_grad_(False)
    return [p for p in model.parameters() if p.requires_grad]


def set_mode(model: nn.Module, phase: Phase) -> None:
    """Set training mode, except in frozen parts (so batch norms keep their averages, dropout rests)."""
    model.train()
    for part in frozen(model, phase):
        part.eval()


def check_freezes(model: nn.Module, plan: Iterable[Phase]) -> None:
    """Raise RequestError for every phase whose ``freeze`` names no part, or leaves nothing to train."""
    faults: list[Fault] = []
    for phase in plan:
        try:
            parameters = trainable(model, phase)
        except RequestError as error:
            faults += error.faults
            continue
        if not parameters:
            got = f"'{phase.freeze}', after which nothing is trained"
            fix = "Name an earlier part, or type train.freeze=none."
            faults.append(Fault("train.freeze", got, "an earlier part", fix))
    model.requires_grad_(True)
    if faults:
        # several phases may share one fault
        raise RequestError(*dict.fromkeys(faults))


def frozen(model: nn.Module, phase: Phase) -> Iterator[nn.Module]:
    """Yield the modules up to and including the part that ``freeze`` names, as they are defined."""
    if phase.freeze == "none":
        return
    check_part(model, phase.freeze)
    module = model
    for name in phase.freeze.split("."):
        for child_name, child in module.named_children():
            if child_name == name:
                break
            yield child
        module = module.get_submodule(name)
    yield module


def parts_with_parameters(model: nn.Module) -> list[str]:
    """Return the dotted names of the modules inside the model that have parameters."""
    parts = []
    for name, module in model.named_modules():
        has_parameters = next(module.parameters(), None) is not None
        if name and has_parameters:
            parts.append(name)
    return parts


def check_part(model: nn.Module, name: str) -> None:
    """Raise RequestError if the model has no part of this name; it lists the parts at the wrong level."""
    parts = parts_with_parameters(model)
    if name in parts:
        return
    parent = name
    while parent and parent not in parts:
        parent = parent.rpartition(".")[0]
    siblings = [part for part in parts if part.rpartition(".")[0] == parent]
    deeper = next((part for part in parts if part.endswith(f".{name}")), None)
    hint = f"Did you mean '{deeper}'?" if deeper else did_you_mean(name, parts)
    expected = f"none, or a part of {type(model).__name__}: {one_of(siblings)}"
    raise RequestError(Fault("train.freeze", f"'{name}'", expected, hint))
