"""Steady training images/s of cvflow's loop against a bare, tuned PyTorch loop, both in this process, in turn.

Same network, encoded files, decoder (Pillow), augmentation, batch, optimiser (fused), threads, memory order and malloc. The bare loop
takes the best of 0, 1 and 2 loader processes and of transforms on PIL images and on tensors, found by a trial. Evaluation
and checkpoints are in neither side.

python benchmarks/train.py [--quick] [--pairs N] [--threads N]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from cases import DATA, photographs, prepared, recipe, session
from measure import Pairs, in_pairs, table, write_results
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from cvflow.config import Recipe
from cvflow.data.dataset import PreparedDataset
from cvflow.engine.job import make_task
from cvflow.engine.loop import train
from cvflow.runtime.cores import compute_on, cores
from cvflow.runtime.local import LocalSession

AUGMENT: dict[str, list[v2.Transform]] = {
    "crop": [v2.RandomCrop(32, padding=4), v2.RandomHorizontalFlip()],
    "zoom": [v2.RandomResizedCrop(128, antialias=True), v2.RandomHorizontalFlip()],
}


@dataclass(frozen=True)
class Case:
    """A recipe, its raw training images as class folders, the same ones prepared, and the same augmentation for the bare loop."""

    name: str
    recipe: Recipe
    folder: Path
    dataset: PreparedDataset
    augment: str
    skip: int

    @property
    def batch_size(self) -> int:
        return self.recipe.train.batch_size

    @property
    def steps(self) -> int:
        """Of an epoch."""
        return self.dataset.info.counts["train"] // self.batch_size


def cases() -> list[Case]:
    sgd = {"name": "sgd", "lr": 0.01, "momentum": 0.9, "weight_decay": 5e-4}
    common = {"optimizer": sgd, "channels_last": True, "epochs": 1}
    small = recipe({"name": "cifar_resnet", "depth": 20}, 32, batch_size=64, **common)
    zoom = ["random_resized_crop", "horizontal_flip"]
    large = recipe({"name": "torchvision", "model": "mobilenet_v2"}, 128, batch_size=32, augment=zoom, **common)
    cifar, photos = DATA / "cifar10_jpg", photographs()
    return [
        Case("ResNet-20, CIFAR-10 at 32 px", small, cifar / "train", prepared("cifar10_jpg", cifar), "crop", skip=10),
        Case("MobileNetV2 at 128 px", large, photos, prepared("photographs", photos), "zoom", skip=4),
    ]


def speed(marks: Sequence[float], case: Case) -> float:
    """Images/s from the times at which the steps of an epoch ended, the first ones left out."""
    return (len(marks) - 1 - case.skip) * case.batch_size / (marks[-1] - marks[case.skip])


class Timed(LocalSession):
    """Notes when it is asked whether to stop: after each step."""

    marks: list[float]

    def should_stop(self) -> bool:
        self.marks.append(time.perf_counter())
        return False


def ours(case: Case, threads: int, root: Path) -> Callable[[], float]:
    """An epoch more of one training, through the whole loop; gives its images/s."""
    around = session(root, threads, kind=Timed)
    epochs = 0

    def epoch() -> float:
        nonlocal epochs
        epochs += 1
        around.marks = []
        longer = case.recipe.train.model_copy(update={"epochs": epochs})
        train(case.recipe.model_copy(update={"train": longer}), case.dataset, around)
        return speed(around.marks[: case.steps], case)

    return epoch


def bare(case: Case, threads: int, loader_workers: int, on_tensors: bool) -> Callable[[], float]:
    """An epoch more of the bare loop."""
    torch.set_num_threads(threads)
    augment = AUGMENT[case.augment]
    transform = v2.Compose([v2.PILToTensor(), *augment] if on_tensors else [*augment, v2.PILToTensor()])
    data = ImageFolder(str(case.folder), transform)
    loader = DataLoader(
        data, case.batch_size, shuffle=True, drop_last=True, num_workers=loader_workers, persistent_workers=loader_workers > 0
    )
    model = make_task(case.recipe, case.dataset.info).build(case.recipe, case.dataset.info).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4, fused=True)

    def steps() -> Iterator[float]:
        model.train()
        for images, labels in loader:
            optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(model(images.to(memory_format=torch.channels_last)), labels).backward()
            optimizer.step()
            yield time.perf_counter()

    return lambda: speed([mark for _, mark in zip(range(case.steps), steps(), strict=False)], case)


def tuned(case: Case, threads: int) -> tuple[str, Callable[[], float]]:
    """The fastest bare loop, by an epoch of each after one to warm up."""
    found = {}
    for workers in (0, 1, 2):
        for on_tensors in (False, True):
            epoch = bare(case, threads, workers, on_tensors)
            epoch()
            found[f"{workers} loader processes, transforms on {'tensors' if on_tensors else 'PIL images'}"] = epoch(), epoch
    best = max(found, key=lambda name: found[name][0])
    print({name: round(value) for name, (value, _) in found.items()}, flush=True)
    return best, found[best][1]


def measured(case: Case, threads: int, pairs: int) -> tuple[str, Pairs]:
    best, theirs = tuned(case, threads)
    with tempfile.TemporaryDirectory() as root:
        epoch = ours(case, threads, Path(root))
        epoch()
        return best, in_pairs(epoch, theirs, pairs)


def main() -> int:
    """Print the tables; 1 where a median ratio is below the bar."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--quick", action="store_true", help="two pairs: shows that it runs")
    arguments = parser.parse_args()
    compute_on(arguments.threads)
    parts, least = [], 9.0
    for case in cases():
        best, pairs = measured(case, arguments.threads, 2 if arguments.quick else arguments.pairs)
        heading = f"## {case.name}\n\nBatch {case.batch_size}, {arguments.threads} threads. Bare loop: {best}."
        parts += [heading, table(["pair", "cvflow images/s", "bare loop images/s", "ratio"], pairs.rows()), f"Median ratio **{pairs}**."]
        least = min(least, pairs.ratio)
    write_results("train", "Training against a bare PyTorch loop", *parts, keep=not arguments.quick)
    return int(not arguments.quick and least < 1.0)


if __name__ == "__main__":
    sys.exit(main())
