"""Training and inference images/s of FCN and DeepLabv3 against torchvision's own networks in a bare
loop, in turn.

Same backbone and output stride, input, classes, batch, optimiser (fused), threads and memory order;
every image is in memory. Ours goes through the task, its step and its losses, and answers as
`cvflow predict` does; the bare loop is a cross-entropy and an argmax, measured as Python and torch
come, and with cvflow's malloc and threads' waiting. Predicting folds the BatchNorms, which the bare
loop does not.

python benchmarks/segmentation.py [--quick] [--pairs N] [--threads N]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path

import torch
from measure import (
    ABOUT_SETTINGS,
    AHEAD,
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
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.segmentation import deeplabv3_resnet50, fcn_resnet50

from cvflow.config import Recipe
from cvflow.engine.export import TrainedModel
from cvflow.engine.infer import Decoded, Predictor
from cvflow.engine.job import make_task
from cvflow.engine.step import Step
from cvflow.ops.place import Place
from cvflow.runtime.cores import cores
from cvflow.tasks.base import Task
from cvflow.types import Batch, DatasetInfo

SIDE, CLASSES, BATCH = 96, 21, 4
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
THEIRS: dict[str, Callable[..., nn.Module]] = {"dilated_fcn": fcn_resnet50, "deeplabv3": deeplabv3_resnet50}
THROUGH = ("training", "inference")
LR = {"lr": 0.01, "momentum": 0.9, "fused": True}


def images() -> tuple[Tensor, Tensor]:
    """uint8 images BCHW and masks BHW."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (BATCH, 3, SIDE, SIDE), dtype=torch.uint8, generator=generator)
    return pixels, torch.randint(0, CLASSES, (BATCH, SIDE, SIDE), dtype=torch.uint8, generator=generator)


def ours(model: str) -> tuple[Callable[[], None], Callable[[], None]]:
    """A step of (training, inference)."""
    backbone = {"name": "torchvision", "model": "resnet50", "output_stride": 8}
    sections = {"task": "segmentation", "data": {"format": "digits"}, "image": {"size": (SIDE, SIDE)}}
    recipe = Recipe.model_validate(
        {
            **sections,
            "model": {"name": model, "backbone": backbone, "normalize": "imagenet"},
            "train": {"channels_last": True},
        }
    )
    info = DatasetInfo("segmentation", tuple(map(str, range(CLASSES))), {"train": 1}, MEAN, STD, "")
    task = make_task(recipe, info)
    net = task.build(recipe, info).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(net.parameters(), **LR)
    pixels, labels = images()
    batch = Batch(["a"] * BATCH, {"image": pixels}, {"mask": labels}, placed=[Place((SIDE, SIDE))] * BATCH)
    predictor = Predictor(TrainedModel(recipe, task, info, net, "", ""), torch.device("cpu"))
    return partial(our_step, task, net, optimizer, batch), partial(our_answer, predictor, batch)


def our_step(task: Task, net: nn.Module, optimizer: torch.optim.Optimizer, batch: Batch) -> None:
    net.train()
    optimizer.zero_grad(set_to_none=True)
    loss = Step(net, task)(batch.to(torch.device("cpu"), channels_last=True))["loss"]
    (loss.sum / loss.count).backward()
    optimizer.step()


def our_answer(predictor: Predictor, batch: Batch) -> None:
    """Down to the encoded masks."""
    predictor.answers(Decoded([{"id": id} for id in batch.ids], batch, list(range(BATCH)), {}))


def theirs(model: str) -> tuple[Callable[[], None], Callable[[], None]]:
    """The same of torchvision's."""
    net = THEIRS[model](weights=None, weights_backbone=None, num_classes=CLASSES, aux_loss=False).to(
        memory_format=torch.channels_last
    )
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

    return step, answer


def side(model: str, through: str, threads: int, which: str) -> Callable[[Path], Side]:
    """which: ``cvflow`` or ``torchvision``."""
    options = ["--threads", str(threads), "--side", which, "--model", model, "--through", through]
    return lambda marks: Side(which, [sys.executable, __file__, *options, "--marks", str(marks)], marks)


def run_side(which: str, model: str, through: str, threads: int, file: Path) -> None:
    """What ``side`` starts."""
    compute(which, threads)
    step = (ours if which == "cvflow" else theirs)(model)[THROUGH.index(through)]
    marks = Marks(file, sys.maxsize, BATCH)
    for at in count(AHEAD + 1):
        step()
        marks.step(0, at)


def main() -> int:
    """Print the table; 1 where a median ratio is below the bar."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--quick", action="store_true", help="one pair: shows that it runs")
    for name in ("--side", "--model", "--through", "--marks"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.side:
        run_side(asked.side, asked.model, asked.through, asked.threads, Path(asked.marks))
    pairs, rows, least = 1 if asked.quick else asked.pairs, [], 9.0
    for model in THEIRS:
        for through in THROUGH:
            _, plain, alike = against_the_fastest(
                partial(side, model, through, asked.threads), ["torchvision"], pairs
            )
            rows += [[model, through, *row] for row in both_rows(plain, alike)]
            least = min(least, plain.ratio)
    text = (
        f"ResNet-50, output stride 8, {SIDE} px, batch {BATCH}, "
        f"{asked.threads} threads; medians of {pairs} pairs, each of new processes, "
        f"{TURNS} turns of {SECONDS:g} seconds. {ABOUT_SETTINGS} In inference "
        "cvflow folds the BatchNorms, as it does in predicting; the "
        "bare loop runs torchvision's networks as they are. On maps of "
        f"{SIDE // 8} x {SIDE // 8} cells most weights of DeepLabv3's "
        "dilated kernels meet nothing but padding: cvflow leaves "
        "those out, which larger images gain less from."
    )
    columns = ["network", "", SETTINGS, "cvflow images/s", "torchvision images/s", "ratio"]
    write_results(
        "segmentation",
        "Segmentation against torchvision's own networks",
        text,
        table(columns, rows),
        keep=not asked.quick,
    )
    return int(not asked.quick and least < 1.0)


if __name__ == "__main__":
    sys.exit(main())
