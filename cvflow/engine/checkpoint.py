"""Checkpoints: tensors in safetensors, the rest JSON; written aside, checksummed, renamed.

The last two and the best are kept. Nothing is ever unpickled.
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
    """The state of a training at one step.

    state: plain JSON data (phase, epoch, step, scores). tensors: file stem -> name -> tensor.
    """

    state: dict[str, Any]
    tensors: dict[str, dict[str, Tensor]]


class CheckpointStore:
    """A folder of checkpoints, one directory for each global step.

    keep: how many of the latest are kept, besides the best.
    """

    def __init__(self, root: Path, keep: int = 2) -> None:
        self.root = root
        self.keep = keep

    def save(self, step: int, checkpoint: Checkpoint, best: bool = False) -> Path:
        """Write the checkpoint of a step; ``best`` marks it to be kept until a better one comes.

        Raises CvflowError if it cannot be written (a full disk); earlier ones are left as they were.
        """
        unfinished = self.root / f".step-{step:09d}.{os.getpid()}"
        try:
            self._remove_unfinished()
            return self._write(step, unfinished, checkpoint, best)
        except (OSError, SafetensorError) as error:
            shutil.rmtree(unfinished, ignore_errors=True)
            earlier = self._directories()
            fallback = f"{earlier[-1].name} is whole" if earlier else "there is none before"
            raise CvflowError(
                f"The checkpoint of step {step} could not be written to {self.root}: {error}. "
                f"{fallback[0].upper()}{fallback[1:]}. "
                "Make room ('df -h' says where), then type the same command: it goes on from there."
            ) from error

    def _write(self, step: int, unfinished: Path, checkpoint: Checkpoint, best: bool) -> Path:
        """Write everything into ``unfinished``, then rename it to its final name."""
        final = self.root / f"step-{step:09d}"
        unfinished.mkdir(parents=True)
        for stem, tensors in checkpoint.tensors.items():
            on_cpu = {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}
            save_file(on_cpu, unfinished / f"{stem}.safetensors")
        (unfinished / "state.json").write_text(json.dumps(checkpoint.state))
        digests = {file.name: _sha256(file) for file in sorted(unfinished.iterdir())}
        (unfinished / MANIFEST).write_text(json.dumps(digests))
        for file in unfinished.iterdir():
            _sync(file)
        if best:
            # before the rename: a kill between the two must not leave a best one unmarked
            self._mark_best(final.name)
        shutil.rmtree(final, ignore_errors=True)
        unfinished.rename(final)
        self._prune()
        return final

    def latest(self) -> Checkpoint | None:
        """Return the newest intact checkpoint; damaged ones are skipped (see ``damaged``)."""
        for directory in reversed(self._directories()):
            if _is_intact(directory):
                return read_checkpoint(directory)
        return None

    def damaged(self) -> list[str]:
        """Return the names of the checkpoints whose files differ from what was written."""
        return [directory.name for directory in self._directories() if not _is_intact(directory)]

    def best(self) -> Checkpoint | None:
        """Return the checkpoint marked best, or the latest if none is."""
        name = self._best_name()
        if name and _is_intact(self.root / name):
            return read_checkpoint(self.root / name)
        return self.latest()

    def _remove_unfinished(self) -> None:
        """Remove what a killed process left half written; a training has one writer at a time."""
        for directory in self.root.glob(".step-*"):
            shutil.rmtree(directory, ignore_errors=True)

    def _directories(self) -> list[Path]:
        """Return the directories of all checkpoints, oldest first."""
        return sorted(self.root.glob("step-*"))

    def _best_name(self) -> str | None:
        marker = self.root / "best"
        return marker.read_text() if marker.exists() else None

    def _mark_best(self, name: str) -> None:
        unfinished = self.root / f".best.{os.getpid()}"
        unfinished.write_text(name)
        unfinished.replace(self.root / "best")

    def _prune(self) -> None:
        for old in self._directories()[: -self.keep]:
            if old.name != self._best_name():
                shutil.rmtree(old)


def flatten_optimizer(state: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return an optimiser's state_dict as (tensors named ``<parameter>.<slot>``, JSON data).

    A slot may also be a list of tensors.
    """
    tensors: dict[str, Tensor] = {}
    slots: dict[str, dict[str, Any]] = {}
    for index, values in state["state"].items():
        parameter_slots = slots[str(index)] = {}
        for slot, value in values.items():
            parameter_slots[slot] = _move_tensors_out(value, f"{index}.{slot}", tensors)
    return tensors, {"slots": slots, "param_groups": state["param_groups"]}


def unflatten_optimizer(tensors: Mapping[str, Tensor], data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the state_dict that ``flatten_optimizer`` was given."""
    state: dict[int, dict[str, Any]] = {}
    for index, values in data["slots"].items():
        parameter_slots = state[int(index)] = {}
        for slot, value in values.items():
            parameter_slots[slot] = _put_tensors_back(value, tensors)
    return {"state": state, "param_groups": data["param_groups"]}


def _move_tensors_out(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """Move the tensors of a slot into ``tensors``; ``{"tensor": name}`` takes the place of each."""
    if isinstance(value, list):
        return [_move_tensors_out(item, f"{name}.{i}", tensors) for i, item in enumerate(value)]
    if isinstance(value, Tensor):
        tensors[name] = value
        return {"tensor": name}
    return value


def _put_tensors_back(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """Undo ``_move_tensors_out``."""
    if isinstance(value, list):
        return [_put_tensors_back(item, tensors) for item in value]
    if isinstance(value, dict):
        # cloned: the memory of a file is not aligned, and the bits of a dot product depend on that
        return tensors[value["tensor"]].clone()
    return value


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _is_intact(directory: Path) -> bool:
    """Whether all files of the checkpoint are there with the checksums in its manifest."""
    try:
        digests = json.loads((directory / MANIFEST).read_text())
        return all(_sha256(directory / name) == digest for name, digest in digests.items())
    except (OSError, ValueError):
        return False


def read_checkpoint(directory: Path) -> Checkpoint:
    """Read the checkpoint in the directory, without comparing its checksums."""
    state = json.loads((directory / "state.json").read_text())
    tensors = {file.stem: load_file(file) for file in directory.glob("*.safetensors")}
    return Checkpoint(state, tensors)
