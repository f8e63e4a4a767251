"""The model card: what a model is, on which data, how good on each class, how it was made; Markdown, beside the model's files."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from cvflow.dataset.prepared import PreparedDataset
from cvflow.dataset.validation import SHARE
from cvflow.project.graph import Run, read_recipe
from cvflow.runtime.tracking import flatten
from cvflow.types import DatasetInfo

UNSAID = "*Not filled in. Type it in the recipe, as Markdown, under `register.notes`: licence, intended use, known limits, whom to ask.*"
SHOWN_CLASSES = 200


def model_card(run: Run, model: str, run_id: str) -> str:
    """The whole card. The same run gives the same text."""
    recipe, info = read_recipe(run.trained_by), PreparedDataset(run.path("data")).info
    made_by = json.loads((run.path("model") / "model.json").read_text())
    measured, details = (
        json.loads((run.path("evaluation") / name).read_text()) for name in ("metrics.json", "details.json")
    )
    parts = [
        f"# {model}",
        recipe.description,
        table(["", ""], list(facts(run).items())),
        "## Data",
        f"Raw data: {recipe.data.source or recipe.data.format.name}. Prepared data: `{made_by['data_digest']}`.",
        counts(info),
        "## How good it is",
        f"Measured on the {measured['split']} split of `{measured['data_digest']}`, {apart(run, measured['split'])}.",
        table(["metric", "value"], sorted(measured["metrics"].items())),
        *[text for name, figure in details.items() for text in class_tables(name, figure)],
        "## Licence, use and limits",
        recipe.register_.notes or UNSAID,
        "## Where it comes from",
        table(
            ["", ""],
            [("MLflow run", run_id), ("training fingerprint", made_by["fingerprint"]), *lineage(run)],
        ),
        "## How it was trained",
        f"```yaml\n{yaml.safe_dump({k: v for k, v in run.trained_by.items() if k != 'cvflow'}, sort_keys=False, width=120)}```",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def facts(run: Run) -> dict[str, Any]:
    recipe = read_recipe(run.trained_by)
    height, width = recipe.image.size
    grey = "grey" if recipe.image.channels == 1 else "RGB"
    options = recipe.model.model_dump(mode="json", exclude={"name", "weights"})
    return {
        "task": recipe.task.name,
        "network": " ".join(
            [recipe.model.name, *(f"{key}={_plain(value)}" for key, value in options.items())]
        ),
        "weights": f"{_parameters(run.path('model') / 'model.safetensors'):,} numbers",
        "input": f"{height} x {width} pixels, {grey}; other sizes: {recipe.image.resize}",
        "started from": recipe.model.weights
        or ("the network's published weights" if pretrained(run) else "random weights"),
    }


def pretrained(run: Run) -> bool:
    """Whether any part of the model is asked to fetch its published weights."""
    return any(
        key.endswith("pretrained") and value == "true" for key, value in flatten(run.trained_by["model"])
    )


def apart(run: Run, split: str) -> str:
    """What prepare found of the split's images: none of them in train, or how many."""
    findings = json.loads(run.path("validation.json").read_text())["findings"]
    shared = sum(finding["topic"] == f"train and {split}{SHARE}" for finding in findings)
    return (
        f"{shared} of whose images are in train, too: the figures flatter"
        if shared
        else "which it was not trained on"
    )


def lineage(run: Run) -> Iterator[tuple[str, Any]]:
    yield "run", run.name
    yield "cvflow", run.resolved["cvflow"]["version"]


def counts(info: DatasetInfo) -> str:
    """Samples a split and class."""
    by_class, splits = info.extra.get("class_counts", {}), list(info.counts)
    rows = [["all", *(info.counts[split] for split in splits)]]
    rows += (
        [[name, *(by_class.get(split, {}).get(name, 0) for split in splits)] for name in info.classes]
        if by_class
        else []
    )
    return cut(table(["class", *splits], rows[: SHOWN_CLASSES + 1]), len(rows) - SHOWN_CLASSES - 1)


def class_tables(name: str, figure: Mapping[str, Any]) -> Iterator[str]:
    """A figure of the evaluation, where it is a table."""
    if figure.get("figure") == "table":
        rows = figure["rows"]
        yield f"### {name.replace('_', ' ').capitalize()}"
        yield cut(table(figure["columns"], rows[:SHOWN_CLASSES]), len(rows) - SHOWN_CLASSES)


def cut(text: str, more: int) -> str:
    return f"{text}\n\n... and {more} more, in the report." if more > 0 else text


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table; fractions with four digits, None as a dash."""
    lines = [columns, ["---"] * len(columns), *([_cell(value) for value in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    text = f"{value:.4f}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")


def _plain(value: Any) -> str:
    return str(value["name"]) if isinstance(value, dict) and "name" in value else str(value)


def _parameters(weights: Path) -> int:
    from safetensors import safe_open

    with safe_open(weights, "numpy") as file:
        return sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118, it is no mapping
