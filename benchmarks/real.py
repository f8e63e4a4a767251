"""Real data through the stages, from the raw files to the evaluation: its figures, those of the best blind answer, the time.

Each recipe is a run of the project in .cvflow/benchmarks/real, which goes on where it was broken off, and a line in
.cvflow/benchmarks/real.jsonl once it is done; it is not done again while its recipe is the same. A recipe that trains nothing
measures the model of the recipe that it extends, which is trained first.

python benchmarks/real.py [NAME ...] [--threads N]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from contextlib import chdir
from pathlib import Path
from typing import Any, NamedTuple

from cases import DATA, ROOT, STATE
from measure import table, write_results
from systems import blind, digest, known

from cvflow.config import Recipe
from cvflow.data.dataset import PreparedDataset
from cvflow.runtime.cores import cores
from cvflow.stages.finished import Finished
from cvflow.stages.pipeline import entered, reproduce
from cvflow.stages.recipe_file import load, read_layer
from cvflow.stages.resolve import resolve_layers
from cvflow.stages.run import Run

DONE = STATE / "real.jsonl"
RECIPES = ROOT / "tests" / "recipes"


class Case(NamedTuple):
    """figures: of evaluate, those that the table shows. aims: what they are to reach."""

    figures: tuple[str, ...]
    aims: Mapping[str, str] = {}


CAMVID = Case(("miou", "pixel_accuracy"), {"miou": "0.55 for the best"})
CASES = {
    "cifar10_best": Case(("accuracy",), {"accuracy": "0.72, in ten minutes"}),
    "camvid-fcn8": CAMVID,
    "camvid-deeplabv3": CAMVID,
    "camvid-unet": CAMVID,
    "camvid-segnet": CAMVID,
    "kangaroo": Case(("box_accuracy", "mean_iou")),
    "orl": Case(("equal_error_rate", "recall_at_1"), {"equal_error_rate": "at most 0.08"}),
    "omniglot": Case(("rank_1", "one_shot_20_way"), {"rank_1": "0.85"}),
    "kitti": Case(("epe", "fl")),
    "motorcycle": Case(("epe", "bad3")),
}


def measured(name: str, threads: int) -> dict[str, Any]:
    """The line of a recipe, made where there is none yet."""
    file, overrides = asked(name, threads)
    if line := done(name, threads):
        return line
    if "model.weights" in overrides:
        through(file.parent / read_layer(file).data["extends"], plain(threads), "train")
    run = through(file, overrides, "evaluate")
    found = Finished(run)
    line = {"name": name, "recipe": digest(checked(file, overrides)), "metrics": found.measured["metrics"]}
    line |= {"blind": blind(run.recipe, found.dataset, seen(found.dataset)), "seconds": sum(found.seconds.values())}
    line |= {"epochs": sum(phase.epochs for phase in run.recipe.train.plan()), "threads": threads}
    with DONE.open("a") as lines:
        lines.write(json.dumps(line) + "\n")
    print(line, flush=True)
    return line


def done(name: str, threads: int) -> dict[str, Any] | None:
    """The line of a recipe as it now is, if there is one."""
    file, overrides = asked(name, threads)
    if not Path(overrides.get("model.weights", file)).exists():
        return None
    key = {"name": name, "recipe": digest(checked(file, overrides))}
    return next((line for line in known(DONE) if key.items() <= line.items()), None)


def asked(name: str, threads: int) -> tuple[Path, dict[str, Any]]:
    """The recipe's file and what is set beside it: where it trains nothing, the weights of the recipe that it extends."""
    file = RECIPES / f"{name}.yaml"
    layer = read_layer(file).data
    if layer.get("train", {}).get("epochs") != 0:
        return file, plain(threads)
    return file, {**plain(threads), "model.weights": str(Run(Path(layer["extends"]).stem).path("model") / "model.safetensors")}


def plain(threads: int) -> dict[str, Any]:
    return {"compute.threads": threads, "compute.device": "cpu"}


def through(file: Path, overrides: Mapping[str, Any], stage: str) -> Run:
    """A recipe's run in the project that is the current directory, up to the stage."""
    with entered(str(file.resolve()), overrides, None) as name:
        reproduce([f"{stage}@{name}"])
    return Run(name)


def checked(file: Path, overrides: Mapping[str, Any]) -> Recipe:
    resolved = resolve_layers(load(file, overrides)).recipe
    return Recipe.model_validate({key: value for key, value in resolved.items() if key != "cvflow"})


def seen(dataset: PreparedDataset) -> str:
    """The split whose annotations the blind answer knows: train, or where there is none all that is measured."""
    return "train" if dataset.info.counts["train"] else "test"


def rows(name: str, line: Mapping[str, Any]) -> list[list[object]]:
    """One a figure."""
    (figures, aims), minutes = CASES[name], line["seconds"] / 60
    return [
        [name, figure, line["metrics"][figure], line["blind"][figure], aims.get(figure, "–"), line["epochs"], f"{minutes:.1f}"]
        for figure in figures
    ]


def main() -> None:
    """Print the table, recipe by recipe."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="of recipes, as in camvid; all by default")
    parser.add_argument("--threads", type=int, default=cores())
    arguments = parser.parse_args()
    names = [name for name in CASES if not arguments.names or any(asked in name for asked in arguments.names)]
    folder = STATE / "real"
    folder.mkdir(parents=True, exist_ok=True)
    columns = ["recipe", "figure", "on test", "without the image", "aim", "epochs", "minutes"]
    text = (
        "Trained with one seed, the recipe as it is. Without the image: the best constant answer, by the training split; of a single "
        "pair by its own truth. Minutes: of the training, with its validation. kitti and motorcycle train nothing: their models are those "
        "of flow-samples and stereo-samples."
    )
    with chdir(folder):
        for name in names:
            measured(name, arguments.threads)
            lines = {case: line for case in CASES if (line := done(case, arguments.threads))}
            write_results("real", "Systems on real data", table(columns, [row for case in lines for row in rows(case, lines[case])]), text)


if __name__ == "__main__":
    if DATA.is_dir():
        main()
    else:
        print(f"skipped: no data at {DATA}")
