"""A trained model as files: ``model.safetensors`` and ``model.json``. Loading reads those and executes nothing."""

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
"""The recipe sections that a model was made by, and is rebuilt from."""


@dataclass(frozen=True)
class TrainedModel:
    """A model with all that is needed to use it; ``fingerprint`` is its training's."""

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
    save_file({k: v.contiguous() for k, v in sorted(tensors.items())}, directory / "model.safetensors")
    content = {
        "format": FORMAT,
        "recipe": {section: recipe[section] for section in SECTIONS},
        "dataset": asdict(info),
        "fingerprint": fingerprint,
        "data_digest": data_digest,
    }
    (directory / "model.json").write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")


def read_model(directory: Path, device: torch.device | None = None) -> TrainedModel:
    """The model in evaluation mode on the device (CPU by default). Raises RequestError where it is not one of ours."""
    content = _read_json(directory / "model.json")
    recipe = Recipe.model_validate({**without_downloads(content["recipe"]), "data": {"format": "prepared"}})
    info = read_info(content["dataset"])
    task = make_task(recipe, info)
    model = task.build(recipe, info)
    try:
        model.load_state_dict(load_file(directory / "model.safetensors"))
    except (SafetensorError, OSError, RuntimeError) as error:
        fault = Fault(
            str(directory / "model.safetensors"),
            str(error).splitlines()[0],
            "the weights that model.json describes",
        )
        raise RequestError(fault) from error
    model.to(device or torch.device("cpu")).eval()
    return TrainedModel(recipe, task, info, model, content["fingerprint"], content["data_digest"])


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise RequestError(
            Fault(str(path), str(error), "a model.json written by cvflow", "Type 'cvflow models'.")
        ) from error
    if content.get("format") != FORMAT:
        raise RequestError(
            Fault(
                str(path),
                f"format {content.get('format')}",
                f"format {FORMAT}",
                "Type 'pip install -U cvflow'.",
            )
        )
    return content


def without_downloads(recipe: Any) -> Any:
    """The recipe with starting weights left out: the trained ones replace them."""
    if isinstance(recipe, dict):
        dropped = {"pretrained": False, "weights": None}
        return {k: dropped.get(k, without_downloads(v)) for k, v in recipe.items()}
    return [without_downloads(v) for v in recipe] if isinstance(recipe, list) else recipe
