"""A trained model as files: ``model.safetensors`` and ``model.json``.

Loading reads these two and executes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from cvflow.config import Recipe
from cvflow.dataset.prepared import read_info
from cvflow.engine.job import make_task
from cvflow.errors import Fault, RequestError
from cvflow.tasks.base import Task
from cvflow.types import DatasetInfo

FORMAT = 1
FILES = ("model.safetensors", "model.json")
SECTIONS = ("task", "image", "model", "train", "seed")
"""The recipe sections that determine a model, and from which it is built again."""


@dataclass(frozen=True)
class TrainedModel:
    """A model with all that is needed to use it. fingerprint: of its training."""

    recipe: Recipe
    task: Task
    info: DatasetInfo
    model: nn.Module
    fingerprint: str
    data_digest: str


def write_model(
    directory: Path,
    tensors: Mapping[str, Tensor],
    recipe: Mapping[str, Any],
    info: DatasetInfo,
    fingerprint: str,
    data_digest: str,
) -> None:
    """Write the two files. The same training writes the same bytes: no times, no paths of a machine."""
    directory.mkdir(parents=True, exist_ok=True)
    contiguous = {name: tensor.contiguous() for name, tensor in sorted(tensors.items())}
    save_file(contiguous, directory / "model.safetensors")
    content = {
        "format": FORMAT,
        "recipe": {section: recipe[section] for section in SECTIONS},
        "dataset": asdict(info),
        "fingerprint": fingerprint,
        "data_digest": data_digest,
    }
    (directory / "model.json").write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")


def read_model(directory: Path, device: torch.device | None = None) -> TrainedModel:
    """Read a model in evaluation mode on the device (CPU by default).

    Raises RequestError if the directory holds no model that cvflow wrote.
    """
    content = _read_json(directory / "model.json")
    # a recipe must name data; a model that is only used reads none
    sections = {**without_downloads(content["recipe"]), "data": {"format": "prepared"}}
    recipe = Recipe.model_validate(sections)
    info = read_info(content["dataset"])
    task = make_task(recipe, info)
    model = task.build(recipe, info)
    _load_weights(model, directory / "model.safetensors")
    model.to(device or torch.device("cpu")).eval()
    return TrainedModel(recipe, task, info, model, content["fingerprint"], content["data_digest"])


def _load_weights(model: nn.Module, file: Path) -> None:
    """Load the file's tensors into the model; RequestError if it cannot be read or does not fit."""
    try:
        model.load_state_dict(load_file(file))
    except (SafetensorError, OSError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        fault = Fault(str(file), reason, "the weights that model.json describes")
        raise RequestError(fault) from error


def _read_json(path: Path) -> dict[str, Any]:
    """Read model.json; RequestError if it is damaged or of another format."""
    try:
        content: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        expected = "a model.json written by cvflow"
        raise RequestError(Fault(str(path), str(error), expected, "Type 'cvflow models'.")) from error
    written = content.get("format")
    if written != FORMAT:
        fix = "Type 'pip install -U cvflow'."
        raise RequestError(Fault(str(path), f"format {written}", f"format {FORMAT}", fix))
    return content


def without_downloads(recipe: Any) -> Any:
    """Return the recipe without starting weights: the trained ones replace them."""
    if isinstance(recipe, list):
        return [without_downloads(value) for value in recipe]
    if not isinstance(recipe, dict):
        return recipe
    result = {key: without_downloads(value) for key, value in recipe.items()}
    if "pretrained" in result:
        result["pretrained"] = False
    if "weights" in result:
        result["weights"] = None
    return result
