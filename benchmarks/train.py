"""Steady training images/s of cvflow's loop against a bare, tuned PyTorch loop, each in a process
that stands still in the other's turns.

Same network, encoded files, decoder (Pillow), augmentation, batch, optimiser (fused), threads and
memory order. The bare loop takes the best of 0, 1 and 2 loader processes and of transforms on PIL
images and on tensors, found by a trial. It is measured as Python and torch come, and with cvflow's
malloc and threads' waiting. Evaluation and checkpoints are in no side, nor are the ends of an
epoch, where batches are ready or no more are loaded.

python benchmarks/train.py [--quick] [--pairs N] [--threads N]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path

import torch
from cases import DATA, photographs, prepared, recipe, session
from measure import (
    ABOUT_SETTINGS,
    ALIKE,
    SECONDS,
    SETTINGS,
    TURNS,
    Marks,
    Side,
    against_the_fastest,
    both_rows,
    compute,
    table,
    write_results,
)
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from cvflow.config import Recipe, SplitRule
from cvflow.dataset.prepared import PreparedDataset
from cvflow.engine.job import make_task
from cvflow.engine.loop import train
from cvflow.engine.session import Point
from cvflow.runtime.cores import cores
from cvflow.runtime.local import LocalSession

AUGMENT: dict[str, list[v2.Transform]] = {
    "crop": [v2.RandomCrop(32, padding=4), v2.RandomHorizontalFlip()],
    "zoom": [v2.RandomResizedCrop(128, antialias=True), v2.RandomHorizontalFlip()],
}
VARIANTS = [f"{workers} {kind}" for workers in (0, 1, 2) for kind in ("PIL images", "tensors")]
"""Of the bare loop: its loader processes, and what they transform."""


@dataclass(frozen=True)
class Case:
    """A recipe, its raw training images as class folders, the same ones prepared, and the same
    augmentation for the bare loop.
    """

    name: str
    recipe: Recipe
    folder: Path
    dataset: PreparedDataset
    augment: str

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
    large = recipe(
        {"name": "torchvision", "model": "mobilenet_v2"}, 128, batch_size=32, augment=zoom, **common
    )
    cifar, photos = DATA / "cifar10_jpg", photographs()
    return [
        Case("ResNet-20, CIFAR-10 at 32 px", small, cifar / "train", prepared("cifar10_jpg", cifar), "crop"),
        Case(
            "MobileNetV2 at 128 px",
            large,
            photos,
            prepared("photographs-to-train", photos, SplitRule(test=0)),
            "zoom",
        ),
    ]


class Timed(LocalSession):
    """Marks the end of each step: after it the session is asked whether to stop (as it is in
    evaluation, and after an epoch).
    """

    marks: Marks
    epoch, at = 0, 0

    def should_stop(self) -> bool:
        self.at += 1
        if self.at <= self.marks.steps:
            self.marks.step(self.epoch, self.at)
        return False

    def report(self, points: Sequence[Point]) -> None:
        super().report(points)
        if any("epoch" in point.metrics for point in points):
            self.epoch, self.at = self.epoch + 1, -1


def ours(case: Case, threads: int, file: Path) -> None:
    """A training through the whole loop."""
    endless = case.recipe.train.model_copy(update={"epochs": 10**6})
    around = session(file.parent, threads, kind=Timed)
    around.marks = Marks(file, case.steps, case.batch_size)
    train(case.recipe.model_copy(update={"train": endless}), case.dataset, around)


def bare(case: Case, file: Path, loader_workers: int, on_tensors: bool) -> None:
    """The bare loop."""
    augment = AUGMENT[case.augment]
    transform = v2.Compose([v2.PILToTensor(), *augment] if on_tensors else [*augment, v2.PILToTensor()])
    data = ImageFolder(str(case.folder), transform)
    loader = DataLoader(
        data,
        case.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=loader_workers,
        persistent_workers=loader_workers > 0,
    )
    marks = Marks(file, len(loader), case.batch_size)
    model = (
        make_task(case.recipe, case.dataset.info)
        .build(case.recipe, case.dataset.info)
        .to(memory_format=torch.channels_last)
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4, fused=True)
    model.train()
    for epoch in count():
        for at, (images, labels) in enumerate(loader, 1):
            optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(model(images.to(memory_format=torch.channels_last)), labels).backward()
            optimizer.step()
            marks.step(epoch, at)


def side(number: int, threads: int, which: str) -> Callable[[Path], Side]:
    """which: ``cvflow``, or the bare loop's loader processes and what it transforms: ``2 tensors``."""
    options = ["--threads", str(threads), "--case", str(number), "--side", which]
    return lambda marks: Side(which, [sys.executable, __file__, *options, "--marks", str(marks)], marks)


def run_side(which: str, case: Case, threads: int, file: Path) -> None:
    """What ``side`` starts."""
    compute(which, threads)
    if which == "cvflow":
        ours(case, threads, file)
    else:
        bare(case, file, int(which.split()[0]), which.removesuffix(ALIKE).endswith("tensors"))


def main() -> int:
    """Print the tables; 1 where a median ratio is below the bar."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--quick", action="store_true", help="one pair: shows that it runs")
    for name in ("--side", "--case", "--marks"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        run_side(arguments.side, cases()[int(arguments.case)], arguments.threads, Path(arguments.marks))
        return 0
    pairs, rows, least = 1 if arguments.quick else arguments.pairs, [], 9.0
    for number, case in enumerate(cases()):
        speeds, plain, alike = against_the_fastest(partial(side, number, arguments.threads), VARIANTS, pairs)
        best = max(speeds, key=lambda name: speeds[name])
        rows += [[case.name, case.batch_size, best, *row] for row in both_rows(plain, alike)]
        least = min(least, plain.ratio)
    write_results(
        "train",
        "Training against a bare PyTorch loop",
        f"{arguments.threads} threads; medians of {pairs} pairs, each of new "
        f"processes, {TURNS} turns of {SECONDS:g} seconds. The bare "
        f"loop's loader processes, and what they transform, are the fastest of six. {ABOUT_SETTINGS}",
        table(
            [
                "network",
                "batch",
                "bare loop: loader processes",
                SETTINGS,
                "cvflow images/s",
                "bare loop images/s",
                "ratio",
            ],
            rows,
        ),
        keep=not arguments.quick,
    )
    return int(not arguments.quick and least < 1.0)


if __name__ == "__main__":
    sys.exit(main())
