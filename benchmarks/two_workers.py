"""Steady training images/s of two Ray Train workers against ``torchrun`` with two processes (DDP, gloo), in turn.

The same network, prepared shards, augmentation, global batch, optimiser, memory order and malloc, one thread a process; each side
the speed of its rank 0 between the first and the last window of ten steps of its second epoch. Starts are not counted. torchrun's
side takes the best of 0, 1 and 2 loader processes, found by a trial.

python benchmarks/two_workers.py [--quick] [--pairs N]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import ray
import torch
import torch.distributed as dist
from cases import cifar, recipe
from measure import in_pairs, table, write_results
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler

from cvflow.config import Compute
from cvflow.data.dataset import PreparedDataset
from cvflow.data.loader import seed_of
from cvflow.engine.history import read_history
from cvflow.engine.job import make_task
from cvflow.runtime.cores import compute_on
from cvflow.runtime.launch import launch
from cvflow.stages.train import train_worker

BAR = 0.975
BATCH, EVERY = 128, 10
PLAN = recipe(
    {"name": "cifar_resnet", "depth": 20}, 32, epochs=2, batch_size=BATCH, channels_last=True,
    optimizer={"name": "sgd", "lr": 0.01, "momentum": 0.9, "weight_decay": 5e-4},
)  # fmt: skip


def speed(marks: Sequence[float]) -> float:
    """Images/s over both workers, from the times of every tenth step of an epoch."""
    return (len(marks) - 1) * EVERY * BATCH / (marks[-1] - marks[0])


def ours() -> float:
    """Two epochs on Ray workers; the speed of the second."""
    steps = cifar().info.counts["train"] // BATCH
    with tempfile.TemporaryDirectory() as root:
        history = Path(root) / "history.jsonl"
        data = PLAN.model_dump(mode="json", by_alias=True)
        launch(
            train_worker, Compute(workers=2, threads=1, device="cpu"), Path(root) / "checkpoints", history, recipe=data,
            dataset=str(cifar().path),
        )  # fmt: skip
        ray.shutdown()  # idle, it would still take time from the other side
        points = [point for _, point in read_history(history)]
    return speed([point.time for point in points if point.step > steps and point.step % EVERY == 0 and "epoch" not in point.metrics])


def theirs(loader_workers: int) -> float:
    """The bare loop under torchrun, each process with so many loader processes; the speed of its second epoch."""
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        __file__,
        "--bare",
        str(cifar().path),
        "--loader-workers",
        str(loader_workers),
    ]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    marks: list[float] = json.loads(done.stdout.splitlines()[-1])
    return speed(marks)


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


def bare(path: str, loader_workers: int) -> None:
    """One process of the torchrun side: prints the times of every tenth step of the second epoch."""
    compute_on(1)
    dist.init_process_group("gloo")
    dataset = PreparedDataset(path)
    task = make_task(PLAN, dataset.info)
    images: Any = Images(task, dataset)
    sampler: DistributedSampler[Any] = DistributedSampler(images, drop_last=True)
    loader: DataLoader[Any] = DataLoader(
        images, BATCH // 2, sampler=sampler, drop_last=True, num_workers=loader_workers, persistent_workers=loader_workers > 0
    )
    model = DistributedDataParallel(task.build(PLAN, dataset.info).to(memory_format=torch.channels_last), broadcast_buffers=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4, fused=True)
    first = len(loader)
    marks, step = [], 0
    for epoch in range(2):
        sampler.set_epoch(epoch)
        for x, label in loader:
            optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(model(x.to(memory_format=torch.channels_last)), label.long()).backward()
            optimizer.step()
            step += 1
            if step > first and step % EVERY == 0:
                marks.append(time.time())
    if dist.get_rank() == 0:
        print(json.dumps(marks), flush=True)
    dist.destroy_process_group()


def main() -> int:
    """Print the table; 1 where the median ratio is below the bar."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="one pair: shows that it runs")
    parser.add_argument("--bare", help=argparse.SUPPRESS)
    parser.add_argument("--loader-workers", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.bare:
        bare(arguments.bare, arguments.loader_workers)
        return 0
    tried = {workers: theirs(workers) for workers in (0, 1, 2)}
    best = max(tried, key=lambda workers: tried[workers])
    pairs = in_pairs(ours, partial(theirs, best), 1 if arguments.quick else arguments.pairs)
    write_results(
        "two_workers",
        "Two Ray Train workers against torchrun",
        f"ResNet-20, CIFAR-10 at 32 px, global batch {BATCH}, one thread a process. torchrun by loader processes of each of its two: "
        + ", ".join(f"{workers}: {speed:.1f} images/s" for workers, speed in tried.items())
        + f". Taken: {best}.",
        table(["pair", "cvflow images/s", "torchrun images/s", "ratio"], pairs.rows()),
        f"Median ratio **{pairs}**, at least {BAR}.",
        keep=not arguments.quick,
    )
    return int(not arguments.quick and pairs.ratio < BAR)


if __name__ == "__main__":
    sys.exit(main())
