"""Starting weights: what of a safetensors file fits a model, by name and shape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from cvflow.errors import Fault, RequestError

PICKLES = {".pth", ".pt", ".th", ".bin", ".ckpt", ".pkl", ".tar"}
CONVERT = (
    'python -c "import torch; from safetensors.torch import save_file; '
    "w = torch.load('{0}', weights_only=True, map_location='cpu'); "
    "save_file({{k: v.clone().contiguous() for k, v in w.get('state_dict', w).items()}}, '{1}')\""
)
OPTIONAL = ("num_batches_tracked", "normalize.mean", "normalize.std")
"""Ends of keys that published files may lack: counters of old batch norms, and our own pixel statistics."""


@dataclass(frozen=True)
class WeightsReport:
    """What was loaded.

    matched, missing: keys of the model; unexpected: keys of the file; mismatched: both, with their
    shapes.
    """

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

    A key of the file is looked for as it is, below ``backbone``, and as ``head`` if it is the
    classifier of the published network. Raises RequestError if the file cannot be read or nothing in
    it fits.
    """
    tensors = read(path)
    state = model.state_dict()
    head_keys = getattr(getattr(model, "backbone", model), "head_keys", ())
    named: set[str] = set()
    matched, unexpected, mismatched = [], [], []
    for key, tensor in tensors.items():
        name = model_key(key, head_keys, state)
        if name is None:
            unexpected.append(key)
            continue
        named.add(name)
        if state[name].shape != tensor.shape:
            mismatched.append(f"{name} {shape(state[name])}, in the file {shape(tensor)}")
            continue
        with torch.no_grad():
            state[name].copy_(tensor)
        matched.append(name)
    missing = [name for name in state if name not in named and not name.endswith(OPTIONAL)]
    if not matched:
        raise RequestError(
            Fault(
                "model.weights",
                f"'{path}', in which nothing fits",
                "weights of this model",
                explain(tensors, state),
            )
        )
    return WeightsReport(tuple(matched), tuple(missing), tuple(unexpected), tuple(mismatched))


def model_key(key: str, head_keys: Sequence[str], state: Mapping[str, Tensor]) -> str | None:
    """Return the model's name for a key of a file, None if it has none."""
    key = key.removeprefix("module.")  # left by DataParallel
    names = [key, f"backbone.{key}", f"backbone.net.{key}"]
    for head in head_keys:
        if key.startswith(f"{head}."):
            names.append(f"head{key.removeprefix(head)}")
    for name in names:
        if name in state:
            return name
    return None


def read(path: Path) -> dict[str, Tensor]:
    """Return every tensor of a safetensors file, on the CPU."""
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
    """Return one line that names the first few, no line if there are none."""
    if not items:
        return []
    more = f", ... ({len(items)} in all)" if len(items) > most else ""
    return [f"{title}: {', '.join(items[:most])}{more}"]


def explain(tensors: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> str:
    """Return a sentence with the first names on both sides."""
    return (
        f"The file has {first_names(tensors)}; the model has {first_names(state)}. "
        "Choose the backbone that the file was made for."
    )


def first_names(tensors: Mapping[str, Tensor]) -> str:
    """Return the first three names and shapes."""
    described = []
    for name, tensor in list(tensors.items())[:3]:
        described.append(f"{name} {shape(tensor)}")
    return ", ".join(described) or "nothing"


def shape(tensor: Tensor) -> str:
    """Return the shape as in 64x3x7x7."""
    sides = map(str, tensor.shape)
    return "x".join(sides) or "scalar"
