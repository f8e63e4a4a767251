"""Real data through the stages, from the raw files to the evaluation: its figures, those of the
best blind answer, the time.

Each recipe is a run of the project in .cvflow/benchmarks/real, which goes on where it was broken
off, and a line in .cvflow/benchmarks/real.jsonl once it is done; it is not done again while its
recipe is the same. A recipe that trains nothing measures the model of the recipe that it extends,
which is trained first; it is measured again where that recipe is another.

python benchmarks/real.py [NAME ...] [--threads N]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping
from contextlib import chdir
from pathlib import Path
from typing import Any, NamedTuple

from cases import DATA, ROOT, STATE
from measure import table, write_results
from systems import blind, digest, known

from cvflow.config import Recipe
from cvflow.dataset.prepared import PreparedDataset
from cvflow.project.graph import Run
from cvflow.project.pipeline import entered, reproduce
from cvflow.project.resolved import resolve_layers
from cvflow.recipe.layers import load, read_layer
from cvflow.runtime.cores import cores
from cvflow.stages.report.finished_run import Finished

DONE = STATE / "real.jsonl"
RECIPES = ROOT / "tests" / "recipes"


class Aim(NamedTuple):
    """value: at least, or at most. note: what else it asks. why: what is known of a figure that misses it.

    One that several recipes share is for the best of them.
    """

    value: float
    most: bool = False
    note: str = ""
    why: str = ""

    def __str__(self) -> str:
        return f"at {'most' if self.most else 'least'} {self.value:g}{self.note}"

    def short(self, figures: Iterable[float]) -> float:
        """By how much the best of the figures misses it; 0 where it does not."""
        missed = min(figure - self.value if self.most else self.value - figure for figure in figures)
        return max(0.0, missed)


class Case(NamedTuple):
    """figures: of evaluate, those that the table shows. aims: what they are to reach."""

    figures: tuple[str, ...]
    aims: Mapping[str, Aim] = {}


BEST_OF_CAMVID = Aim(
    0.55,
    note=" for the best",
    why="There are 74 training images here, at half size, and each "
    "training is of at most ten minutes on two cores.",
)
ORL = Aim(
    0.08,
    most=True,
    why="There are thirty people to learn from; every two portraits of ten "
    "others are compared: 450 pairs of one person, 4,500 of two.",
)
OMNIGLOT = Aim(
    0.85,
    why="There are four alphabets of 110 characters to learn from, 20 "
    "drawings each; of each of the 26 characters in test one is known.",
)
CAMVID = Case(("miou", "pixel_accuracy"), {"miou": BEST_OF_CAMVID})
CASES = {
    "cifar10_best": Case(("accuracy",), {"accuracy": Aim(0.72, note=", in ten minutes")}),
    "camvid-fcn8": CAMVID,
    "camvid-deeplabv3": CAMVID,
    "camvid-unet": CAMVID,
    "camvid-segnet": CAMVID,
    "kangaroo": Case(("box_accuracy", "mean_iou")),
    "orl": Case(("equal_error_rate", "recall_at_1"), {"equal_error_rate": ORL}),
    "omniglot": Case(("rank_1", "recall_at_1", "one_shot_20_way"), {"rank_1": OMNIGLOT}),
    "kitti": Case(("epe", "fl")),
    "motorcycle": Case(("epe", "bad3")),
}


def measured(name: str, threads: int) -> dict[str, Any]:
    """The line of a recipe, made where there is none yet."""
    file, overrides = asked(name, threads)
    if line := done(name):
        return line
    if "model.weights" in overrides:
        through(base(file), plain(threads), "train")
    run = through(file, overrides, "evaluate")
    found = Finished(run)
    line = {**key(name, threads), "metrics": found.measured["metrics"]}
    line |= {
        "blind": blind(run.recipe, found.dataset, seen(found.dataset)),
        "seconds": sum(found.seconds.values()),
    }
    line |= {"epochs": sum(phase.epochs for phase in run.recipe.train.plan()), "threads": threads}
    with DONE.open("a") as lines:
        lines.write(json.dumps(line) + "\n")
    print(line, flush=True)
    return line


def done(name: str) -> dict[str, Any] | None:
    """The last line of a recipe as it now is, whatever the threads, if there is one."""
    file, overrides = asked(name, 1)
    if not Path(overrides.get("model.weights", file)).exists():
        return None
    lines = (line for line in reversed(known(DONE)) if line["name"] == name)
    return next((line for line in lines if key(name, line["threads"]).items() <= line.items()), None)


def key(name: str, threads: int) -> dict[str, str]:
    """What a line is of: the recipe, and where it trains nothing that of the model it measures."""
    file, overrides = asked(name, threads)
    found = {"name": name, "recipe": digest(checked(file, overrides))}
    if "model.weights" in overrides:
        found["from"] = digest(checked(base(file), plain(threads)))
    return found


def asked(name: str, threads: int) -> tuple[Path, dict[str, Any]]:
    """The recipe's file and what is set beside it: where it trains nothing, the weights of the
    recipe that it extends.
    """
    file = RECIPES / f"{name}.yaml"
    if read_layer(file).data.get("train", {}).get("epochs") != 0:
        return file, plain(threads)
    return file, {
        **plain(threads),
        "model.weights": str(Run(base(file).stem).path("model") / "model.safetensors"),
    }


def base(file: Path) -> Path:
    """The recipe that a recipe extends."""
    return file.parent / str(read_layer(file).data["extends"])


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
    """The split whose annotations the blind answer knows: train, or where there is none all that is
    measured.
    """
    return "train" if dataset.info.counts["train"] else "test"


def rows(name: str, lines: Mapping[str, Mapping[str, Any]]) -> list[list[object]]:
    """One a figure. lines: of all recipes that are done."""
    (figures, aims), line = CASES[name], lines[name]
    short = {figure: aim.short(reached(figure, aim, lines).values()) for figure, aim in aims.items()}
    cost = [line["epochs"], f"{line['seconds'] / 60:.1f}", line["threads"]]
    return [
        [
            name,
            figure,
            line["metrics"][figure],
            line["blind"][figure],
            aims.get(figure, "–"),
            short.get(figure) or "–",
            *cost,
        ]
        for figure in figures
    ]


def reached(figure: str, aim: Aim, lines: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Recipe -> figure, of those that share the aim."""
    return {
        name: line["metrics"][figure] for name, line in lines.items() if CASES[name].aims.get(figure) == aim
    }


def misses(lines: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A paragraph for each aim that is missed."""
    aims = dict.fromkeys(item for name in lines for item in CASES[name].aims.items())
    found = {item: reached(*item, lines) for item in aims}
    return [
        f"{', '.join(of)}: {figure} misses its aim, {aim}, by {aim.short(of.values()):.3g}. {aim.why}".strip()
        for (figure, aim), of in found.items()
        if aim.short(of.values())
    ]


def main() -> None:
    """Print the table, recipe by recipe."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="of recipes, as in camvid; all by default")
    parser.add_argument("--threads", type=int, default=cores())
    arguments = parser.parse_args()
    names = [name for name in CASES if not arguments.names or any(asked in name for asked in arguments.names)]
    folder = STATE / "real"
    folder.mkdir(parents=True, exist_ok=True)
    columns = [
        "recipe",
        "figure",
        "on test",
        "without the image",
        "aim",
        "short by",
        "epochs",
        "minutes",
        "threads",
    ]
    text = (
        "Trained with one seed, the recipe as it is. Without the image: the "
        "best constant answer, by the training split; of a single "
        "pair by its own truth. Minutes: of the training, with its "
        "validation. kitti and motorcycle train nothing: their models are those "
        "of flow-samples and stereo-samples. A recipe measured before, on "
        "whatever revision, is not trained again; a clone without .cvflow "
        "trains all."
    )
    with chdir(folder):
        for name in names:
            measured(name, arguments.threads)
            lines = {case: line for case in CASES if (line := done(case))}
            shown = table(columns, [row for case in lines for row in rows(case, lines)])
            write_results("real", "Systems on real data", shown, *misses(lines), text)


if __name__ == "__main__":
    if DATA.is_dir():
        main()
    else:
        print(f"skipped: no data at {DATA}")
