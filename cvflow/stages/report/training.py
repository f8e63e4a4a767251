"""How a run trained: losses, what was measured on val, the learning rate, the speed, where the time went."""

from __future__ import annotations

from collections.abc import Iterator

from cvflow.draw import Curves, Shares
from cvflow.stages.report.finished_run import Finished

PARTS = ("data", "forward", "backward", "optimizer", "evaluation", "checkpoint", "tracking")


def curves(done: Finished) -> Iterator[Curves]:
    """Losses and learning rate over steps, what was measured over epochs."""
    (metric, direction), by_step, by_epoch = done.objective, done.by_step, done.by_epoch
    losses = {name: series for name, series in by_step.items() if name != "lr"}
    yield Curves("Training loss", losses, x_label="step")
    val = f"val_{metric}"
    if val in by_epoch:
        yield Curves(f"Validation {metric}", {val: by_epoch[val]}, best={val: direction})
    val_losses = {name: series for name, series in by_epoch.items() if name.removeprefix("val_") in losses}
    if val_losses:
        yield Curves("Validation loss", val_losses, best=dict.fromkeys(val_losses, "min"))
    if "lr" in by_step:
        yield Curves("Learning rate", {"lr": by_step["lr"]}, x_label="step")
    if "images_per_second" in by_epoch:
        yield Curves("Training speed", {"images a second": by_epoch["images_per_second"]})


def time_split(done: Finished) -> Iterator[Shares]:
    """What the training's time went into, over all epochs."""
    seconds = done.seconds
    if seconds:
        names = [name for name in PARTS if name in seconds] + sorted(seconds.keys() - set(PARTS))
        yield Shares({name: seconds[name] for name in names}, "Training time", "s")
