"""Steady training images/s of two Ray Train workers against ``torchrun`` with two processes (DDP,
gloo), in turn.

The same network, prepared shards, augmentation, global batch, optimiser and memory order, one
thread a process. Each side, Ray's own processes with it, stands still in the other's turns. Starts,
evaluation and the ends of epochs are not counted. torchrun's side takes the best of 0, 1 and 2
loader processes, found by a trial, and is measured as Python and torch come, and with cvflow's
malloc.

python benchmarks/two_workers.py [--quick] [--pairs N]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from cases import cifar, recipe
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
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler

from cvflow.config import Compute, Tracking
from cvflow.dataset.prepared import PreparedDataset
from cvflow.engine.job import make_task
from cvflow.engine.session import Progress, Session
from cvflow.loading.loader import seed_of
from cvflow.runtime.launch import launch
from cvflow.stages.train import train_worker

BAR = 0.975
BATCH = 128
EVERY = 5
"""Steps between two marks, which are those between two points of the history."""
PLAN = recipe(
    {"name": "cifar_resnet", "depth": 20},
    32,
    batch_size=BATCH,
    channels_last=True,
    optimizer={"name": "sgd", "lr": 0.01, "momentum": 0.9, "weight_decay": 5e-4},
).model_copy(update={"tracking": Tracking(every=EVERY)})


class Marked:
    """A session that marks the end of each window of steps."""

    def __init__(self, session: Session, marks: Marks) -> None:
        self._session, self._marks = session, marks

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def progress(self, at: Progress) -> None:
        self._session.progress(at)
        self._marks.step(at.epoch - 1, at.step)


def marked_worker(session: Session, recipe: dict[str, Any], dataset: str, file: str) -> None:
    """On each Ray worker; rank 0 alone shows progress."""
    marked: Any = Marked(session, Marks(Path(file), cifar().info.counts["train"] // BATCH, BATCH))
    train_worker(marked, recipe=recipe, dataset=dataset)


def ours(file: Path) -> None:
    """A training on Ray workers."""
    endless = PLAN.model_copy(update={"train": PLAN.train.model_copy(update={"epochs": 10**6})})
    launch(
        marked_worker,
        Compute(workers=2, threads=1, device="cpu"),
        file.parent / "checkpoints",
        file.parent / "history.jsonl",
        recipe=endless.model_dump(mode="json", by_alias=True),
        dataset=str(cifar().path),
        file=str(file),
    )


class Images:
    """The prepared rows, decoded, augmented and seeded as cvflow's, one by one."""

    def __init__(self, task: Any, dataset: PreparedDataset) -> None:
        self.task, self.rows, self.transform = task, dataset.split("train"), task.transforms(PLAN, "train")

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        (sample,) = self.task.samples(self.rows[index])
        torch.default_generator.manual_seed(seed_of(0, 0, sample.id))
        sample = self.transform(sample)
        return sample.images["image"], sample.target["label"]


def bare(which: str, file: Path) -> None:
    """One process of the torchrun side."""
    compute(which, 1)
    loader_workers = int(which.removesuffix(ALIKE))
    dist.init_process_group("gloo")
    dataset = cifar()
    task = make_task(PLAN, dataset.info)
    images: Any = Images(task, dataset)
    sampler: DistributedSampler[Any] = DistributedSampler(images, drop_last=True)
    loader: DataLoader[Any] = DataLoader(
        images,
        BATCH // 2,
        sampler=sampler,
        drop_last=True,
        num_workers=loader_workers,
        persistent_workers=loader_workers > 0,
    )
    model = DistributedDataParallel(
        task.build(PLAN, dataset.info).to(memory_format=torch.channels_last), broadcast_buffers=False
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4, fused=True)
    marks, step = Marks(file, len(loader), BATCH), 0
    for epoch in count():
        sampler.set_epoch(epoch)
        for at, (x, label) in enumerate(loader, 1):
            optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(model(x.to(memory_format=torch.channels_last)), label.long()).backward()
            optimizer.step()
            step += 1
            if step % EVERY == 0 and dist.get_rank() == 0:
                marks.step(epoch, at)


def side(which: str) -> Callable[[Path], Side]:
    """which: ``cvflow``, or the loader processes of each process under torchrun."""
    run = (
        [] if which == "cvflow" else ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    )
    return lambda marks: Side(
        which,
        [sys.executable, *run, __file__, "--side", which, "--marks", str(marks)],
        marks,
        OMP_NUM_THREADS="1",
    )


def main() -> int:
    """Print the table; 1 where the median ratio is below the bar."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--quick", action="store_true", help="one pair: shows that it runs")
    for name in ("--side", "--marks"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side == "cvflow":
        ours(Path(arguments.marks))
    elif arguments.side:
        bare(arguments.side, Path(arguments.marks))
    if arguments.side:
        return 0
    cifar()
    speeds, plain, alike = against_the_fastest(
        side, ("0", "1", "2"), 1 if arguments.quick else arguments.pairs
    )
    write_results(
        "two_workers",
        "Two Ray Train workers against torchrun",
        f"ResNet-20, CIFAR-10 at 32 px, global batch {BATCH}, one thread a "
        "process. torchrun by loader processes of each of its two: "
        + ", ".join(f"{workers}: {speed:.1f} images/s" for workers, speed in speeds.items())
        + ". Of the fastest:",
        table([SETTINGS, "cvflow images/s", "torchrun images/s", "ratio"], both_rows(plain, alike)),
        f"Medians of {len(plain.ours)} pairs, each of new processes, "
        f"{TURNS} turns of {SECONDS:g} seconds. The bar is {BAR}.",
        ABOUT_SETTINGS,
        keep=not arguments.quick,
    )
    return int(not arguments.quick and plain.ratio < BAR)


if __name__ == "__main__":
    sys.exit(main())
