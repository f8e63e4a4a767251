"""Checkpoints: tensors in safetensors, the rest JSON; written aside, checksummed, renamed.

The last two and the best are kept. Nothing is unpickled, ever.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from cvflow.errors import CvflowError

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Checkpoint:
    """state: plain JSON data (phase, epoch, step, scores). tensors: file stem -> name -> tensor."""

    state: dict[str, Any]
    tensors: dict[str, dict[str, Tensor]]


class CheckpointStore:
    """A folder of checkpoints, one directory a global step."""

    def __init__(self, root: Path, keep: int = 2) -> None:
        self.root = root
        self.keep = keep

    def save(self, step: int, checkpoint: Checkpoint, best: bool = False) -> Path:
        """Write the checkpoint of a step; ``best`` marks it to be kept until a better one comes.

        Raises CvflowError where it cannot be written (a full disk); those before are as they were.
        """
        aside = self.root / f".step-{step:09d}.{os.getpid()}"
        try:
            self._drop_asides()
            return self._write(step, aside, checkpoint, best)
        except (OSError, SafetensorError) as error:
            shutil.rmtree(aside, ignore_errors=True)
            kept = f"{self._steps()[-1].name} is whole" if self._steps() else "there is none before"
            raise CvflowError(
                f"The checkpoint of step {step} could not be written to {self.root}: {error}. {kept[0].upper()}{kept[1:]}. "
                "Make room ('df -h' says where), then type the same command: it goes on from there."
            ) from error

    def _write(self, step: int, aside: Path, checkpoint: Checkpoint, best: bool) -> Path:
        final = self.root / f"step-{step:09d}"
        aside.mkdir(parents=True)
        for stem, tensors in checkpoint.tensors.items():
            save_file(
                {k: v.detach().contiguous().cpu() for k, v in tensors.items()}, aside / f"{stem}.safetensors"
            )
        (aside / "state.json").write_text(json.dumps(checkpoint.state))
        digests = {file.name: _sha256(file) for file in sorted(aside.iterdir())}
        (aside / MANIFEST).write_text(json.dumps(digests))
        for file in aside.iterdir():
            _sync(file)
        if best:
            self._mark_best(final.name)  # first: a kill between the two must not leave a best one unmarked
        shutil.rmtree(final, ignore_errors=True)
        aside.rename(final)
        self._prune()
        return final

    def latest(self) -> Checkpoint | None:
        """The newest whole checkpoint; damaged ones are passed over (see ``damaged``)."""
        for path in reversed(self._steps()):
            if _whole(path):
                return read_checkpoint(path)
        return None

    def damaged(self) -> list[str]:
        """The names of the checkpoints that are not as they were written."""
        return [path.name for path in self._steps() if not _whole(path)]

    def best(self) -> Checkpoint | None:
        """The checkpoint marked best, or the latest where none is."""
        name = self._best_name()
        return read_checkpoint(self.root / name) if name and _whole(self.root / name) else self.latest()

    def _drop_asides(self) -> None:
        """What a killed process left half written; a training has one writer at a time."""
        for left in self.root.glob(".step-*"):
            shutil.rmtree(left, ignore_errors=True)

    def _steps(self) -> list[Path]:
        return sorted(self.root.glob("step-*"))

    def _best_name(self) -> str | None:
        marker = self.root / "best"
        return marker.read_text() if marker.exists() else None

    def _mark_best(self, name: str) -> None:
        aside = self.root / f".best.{os.getpid()}"
        aside.write_text(name)
        aside.replace(self.root / "best")

    def _prune(self) -> None:
        for old in self._steps()[: -self.keep]:
            if old.name != self._best_name():
                shutil.rmtree(old)


def flatten_optimizer(state: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """An optimiser's state_dict as (tensors named ``<parameter>.<slot>``, JSON data); a slot may be a list of tensors."""
    tensors: dict[str, Tensor] = {}
    slots = {
        str(index): {slot: _flat(v, f"{index}.{slot}", tensors) for slot, v in of.items()}
        for index, of in state["state"].items()
    }
    return tensors, {"slots": slots, "param_groups": state["param_groups"]}


def unflatten_optimizer(tensors: Mapping[str, Tensor], data: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of flatten_optimizer."""
    state = {
        int(index): {slot: _unflat(value, tensors) for slot, value in of.items()}
        for index, of in data["slots"].items()
    }
    return {"state": state, "param_groups": data["param_groups"]}


def _flat(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """Tensors are put into ``tensors``; in their place stands ``{"tensor": name}``."""
    if isinstance(value, list):
        return [_flat(item, f"{name}.{i}", tensors) for i, item in enumerate(value)]
    if isinstance(value, Tensor):
        tensors[name] = value
        return {"tensor": name}
    return value


def _unflat(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_unflat(item, tensors) for item in value]
    # cloned, since memory of a file is aligned to nothing, and the bits of a dot product depend on the alignment
    return tensors[value["tensor"]].clone() if isinstance(value, dict) else value


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _whole(path: Path) -> bool:
    try:
        digests = json.loads((path / MANIFEST).read_text())
        return all(_sha256(path / name) == digest for name, digest in digests.items())
    except (OSError, ValueError):
        return False


def read_checkpoint(path: Path) -> Checkpoint:
    state = json.loads((path / "state.json").read_text())
    return Checkpoint(state, {file.stem: load_file(file) for file in path.glob("*.safetensors")})
