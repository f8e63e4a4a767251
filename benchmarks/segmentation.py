"""Training and inference images/s of FCN and DeepLabv3 against torchvision's own networks in a bare loop, in turn.

Same backbone and output stride, input, classes, batch, optimiser (fused), threads, memory order and malloc; every image is in memory. Ours
goes through the task, its step and its losses, and answers as `cvflow predict` does; the bare loop is a cross-entropy and an argmax.
Predicting folds the BatchNorms, which the bare loop does not.

python benchmarks/segmentation.py [--quick] [--pairs N] [--threads N]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from statistics import median
from typing import Any

import torch
from measure import Pairs, in_pairs, table, write_results
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.segmentation import deeplabv3_resnet50, fcn_resnet50

from cvflow.config import Recipe
from cvflow.engine.export import TrainedModel
from cvflow.engine.infer import Decoded, Predictor
from cvflow.engine.job import make_task
from cvflow.runtime.cores import compute_on, cores
from cvflow.tasks.base import Task
from cvflow.types import Batch, DatasetInfo, Placement

SIDE, CLASSES, BATCH = 96, 21, 4
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
THEIRS: dict[str, Callable[..., nn.Module]] = {"dilated_fcn": fcn_resnet50, "deeplabv3": deeplabv3_resnet50}
STEPS, WARM = 9, 4
LR = {"lr": 0.01, "momentum": 0.9, "fused": True}


def images() -> tuple[Tensor, Tensor]:
    """uint8 images BCHW and masks BHW."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (BATCH, 3, SIDE, SIDE), dtype=torch.uint8, generator=generator)
    return pixels, torch.randint(0, CLASSES, (BATCH, SIDE, SIDE), dtype=torch.uint8, generator=generator)


def speed(step: Callable[[], Any]) -> float:
    """Images/s of one step: the sides change places so often that the machine's moods are of both."""
    start = time.perf_counter()
    step()
    return BATCH / (time.perf_counter() - start)


def ours(model: str) -> tuple[Callable[[], float], Callable[[], float]]:
    """(training, inference), each giving its images/s."""
    backbone = {"name": "torchvision", "model": "resnet50", "output_stride": 8}
    sections = {"task": "segmentation", "data": {"format": "digits"}, "image": {"size": (SIDE, SIDE)}}
    recipe = Recipe.model_validate(
        {**sections, "model": {"name": model, "backbone": backbone, "normalize": "imagenet"}, "train": {"channels_last": True}}
    )
    info = DatasetInfo("segmentation", tuple(map(str, range(CLASSES))), {"train": 1}, MEAN, STD, "")
    task = make_task(recipe, info)
    net = task.build(recipe, info).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(net.parameters(), **LR)
    pixels, labels = images()
    batch = Batch(["a"] * BATCH, {"image": pixels}, {"mask": labels}, placed=[Placement((SIDE, SIDE))] * BATCH)
    predictor = Predictor(TrainedModel(recipe, task, info, net, "", ""), torch.device("cpu"))
    return partial(speed, partial(our_step, task, net, optimizer, batch)), partial(speed, partial(our_answer, predictor, batch))


def our_step(task: Task, net: nn.Module, optimizer: torch.optim.Optimizer, batch: Batch) -> None:
    net.train()
    optimizer.zero_grad(set_to_none=True)
    loss = task.losses(net, batch.to(torch.device("cpu"), channels_last=True))["loss"]
    (loss.sum / loss.count).backward()
    optimizer.step()


def our_answer(predictor: Predictor, batch: Batch) -> None:
    """Down to the encoded masks."""
    predictor.answers(Decoded([{"id": id} for id in batch.ids], batch, list(range(BATCH)), {}))


def theirs(model: str) -> tuple[Callable[[], float], Callable[[], float]]:
    """The same of torchvision's."""
    net = THEIRS[model](weights=None, weights_backbone=None, num_classes=CLASSES, aux_loss=False).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(net.parameters(), **LR)
    pixels, labels = images()
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (MEAN, STD))

    def logits() -> Tensor:
        result: Tensor = net(((pixels / 255 - mean) / std).to(memory_format=torch.channels_last))["out"]
        return result

    def step() -> None:
        net.train()
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(logits(), labels.long(), ignore_index=255).backward()
        optimizer.step()

    def answer() -> None:
        net.eval()
        with torch.inference_mode():
            logits().argmax(1).to(torch.uint8)

    return partial(speed, step), partial(speed, answer)


def measured(model: str, threads: int) -> list[tuple[float, float]]:
    """(ours, theirs) in training and in inference: medians of steps in turn, in this process, which is a new one."""
    compute_on(threads)
    found = []
    for both in zip(ours(model), theirs(model), strict=True):
        for side in both * WARM:
            side()
        steps = in_pairs(*both, STEPS)
        found.append((median(steps.ours), median(steps.theirs)))
    return found


def main() -> int:
    """Print the tables; 1 where a median ratio is below the bar."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--quick", action="store_true", help="one pair: shows that it runs")
    arguments = parser.parse_args()
    pairs = 1 if arguments.quick else arguments.pairs
    found = {}
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as new:
        for model in THEIRS:
            each = list(new.map(measured, [model] * pairs, [arguments.threads] * pairs))
            for name, both in zip(("training", "inference"), zip(*each, strict=True), strict=True):
                found[model, name] = Pairs(*zip(*both, strict=True))
    rows = [[*names, median(both.ours), median(both.theirs), f"**{both}**"] for names, both in found.items()]
    text = (
        f"ResNet-50, output stride 8, {SIDE} px, batch {BATCH}, {arguments.threads} threads; medians of {pairs} pairs, each of {STEPS} "
        "steps a side in turn in a new process. In inference cvflow folds the BatchNorms, as it does in predicting; the bare loop runs "
        f"torchvision's networks as they are. On maps of {SIDE // 8} x {SIDE // 8} cells most weights of DeepLabv3's dilated kernels meet "
        "nothing but padding: cvflow leaves those out, which larger images gain less from."
    )
    columns = ["network", "", "cvflow images/s", "torchvision images/s", "ratio"]
    write_results("segmentation", "Segmentation against torchvision's own networks", text, table(columns, rows), keep=not arguments.quick)
    return int(not arguments.quick and min(both.ratio for both in found.values()) < 1.0)


if __name__ == "__main__":
    sys.exit(main())
