"""Starting weights: what of a safetensors file fits a model, by name and shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from cvflow.errors import Fault, RequestError

PICKLES = {".pth", ".pt", ".th", ".bin", ".ckpt", ".pkl", ".tar"}
CONVERT = (
    "python -c \"import torch; from safetensors.torch import save_file; w = torch.load('{0}', weights_only=True, map_location='cpu'); "
    "save_file({{k: v.clone().contiguous() for k, v in w.get('state_dict', w).items()}}, '{1}')\""
)
OPTIONAL = ("num_batches_tracked", "normalize.mean", "normalize.std")
"""Ends of keys that published files may lack: counters of old batch norms, and our own pixel statistics."""


@dataclass(frozen=True)
class WeightsReport:
    """What was loaded. matched, missing: keys of the model; unexpected: keys of the file; mismatched: both, with their shapes."""

    matched: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mismatched: tuple[str, ...]

    def __str__(self) -> str:
        lines = [f"{len(self.matched)} tensors loaded"]
        lines += listed("kept as initialised, not in the file", self.missing)
        lines += listed("kept as initialised, another shape", self.mismatched)
        lines += listed("in the file, not in the model", self.unexpected)
        return "\n".join(lines)


def load_weights(model: nn.Module, path: Path) -> WeightsReport:
    """Copy the file's tensors into the model where name and shape agree; the others stay as initialised.

    A key of the file is looked for as it is, below ``backbone``, and as ``head`` where it is the classifier of the published network.
    Raises RequestError when the file cannot be read or nothing in it fits.
    """
    tensors, own = read(path), model.state_dict()
    head_keys = getattr(getattr(model, "backbone", model), "head_keys", ())
    found = {key: place(key, head_keys, own) for key in tensors}
    fits = {
        key: name for key, name in found.items() if name is not None and own[name].shape == tensors[key].shape
    }
    with torch.no_grad():
        for key, name in fits.items():
            own[name].copy_(tensors[key])
    report = WeightsReport(
        matched=tuple(fits.values()),
        missing=tuple(name for name in own if name not in found.values() and not name.endswith(OPTIONAL)),
        unexpected=tuple(key for key, name in found.items() if name is None),
        mismatched=tuple(
            f"{name} {shape(own[name])}, in the file {shape(tensors[key])}"
            for key, name in found.items()
            if name and key not in fits
        ),
    )
    if not fits:
        raise RequestError(
            Fault(
                "model.weights",
                f"'{path}', in which nothing fits",
                "weights of this model",
                explain(tensors, own),
            )
        )
    return report


def place(key: str, head_keys: Sequence[str], own: dict[str, Tensor]) -> str | None:
    """The model's name for a key of a file, if it has one."""
    key = key.removeprefix("module.")  # left by DataParallel
    names = [key, f"backbone.{key}", f"backbone.net.{key}"]
    names += [f"head{key.removeprefix(head)}" for head in head_keys if key.startswith(f"{head}.")]
    return next((name for name in names if name in own), None)


def read(path: Path) -> dict[str, Tensor]:
    """Every tensor of a safetensors file, on the CPU."""
    if not path.is_file():
        raise RequestError(
            Fault("model.weights", f"'{path}', which is no file", "a safetensors file", "Check the path.")
        )
    if path.suffix.lower() in PICKLES:
        command = CONVERT.format(path, path.with_suffix(".safetensors"))
        raise RequestError(
            Fault(
                "model.weights",
                f"'{path}', a pickle, which may run code",
                "a safetensors file",
                f"Convert it, type: {command}",
            )
        )
    try:
        return load_file(path)
    except SafetensorError as error:
        raise RequestError(Fault("model.weights", f"'{path}' ({error})", "a safetensors file")) from error


def listed(title: str, items: Sequence[str], most: int = 4) -> list[str]:
    """One line that names the first few, or none."""
    if not items:
        return []
    more = f", ... ({len(items)} in all)" if len(items) > most else ""
    return [f"{title}: {', '.join(items[:most])}{more}"]


def explain(tensors: dict[str, Tensor], own: dict[str, Tensor]) -> str:
    """The first names on both sides."""

    def first(named: dict[str, Tensor]) -> str:
        return ", ".join(f"{name} {shape(tensor)}" for name, tensor in list(named.items())[:3]) or "nothing"

    return f"The file has {first(tensors)}; the model has {first(own)}. Choose the backbone that the file was made for."


def shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"
