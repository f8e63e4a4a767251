"""The model card: what a model is, its data, its quality on each class, how it was made.

Markdown, beside the model's files.
"""

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

UNSAID = (
    "*Not filled in. Type it in the recipe, as Markdown, under `register.notes`: "
    "licence, intended use, known limits, whom to ask.*"
)
SHOWN_CLASSES = 200


def model_card(run: Run, model: str, run_id: str) -> str:
    """Return the whole card. The same run gives the same text."""
    recipe = read_recipe(run.trained_by)
    model_json = _read_json(run.path("model") / "model.json")
    parts = [
        f"# {model}",
        recipe.description,
        table(["", ""], list(facts(run).items())),
        *data_part(run, model_json["data_digest"]),
        *quality_part(run),
        "## Licence, use and limits",
        recipe.register_.notes or UNSAID,
        *origin_part(run, run_id, model_json["fingerprint"]),
        *training_part(run),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def data_part(run: Run, digest: str) -> list[str]:
    """Return what the card says of the data."""
    data = read_recipe(run.trained_by).data
    source = data.source or data.format.name
    info = PreparedDataset(run.path("data")).info
    return ["## Data", f"Raw data: {source}. Prepared data: `{digest}`.", counts(info)]


def quality_part(run: Run) -> list[str]:
    """Return the metrics, and the tables of the evaluation."""
    evaluation = run.path("evaluation")
    measured = _read_json(evaluation / "metrics.json")
    details = _read_json(evaluation / "details.json")
    split = measured["split"]
    parts = [
        "## How good it is",
        f"Measured on the {split} split of `{measured['data_digest']}`, {apart(run, split)}.",
        table(["metric", "value"], sorted(measured["metrics"].items())),
    ]
    for name, figure in details.items():
        parts += class_tables(name, figure)
    return parts


def origin_part(run: Run, run_id: str, fingerprint: str) -> list[str]:
    """Return the names by which the model's training is found."""
    rows = [
        ("MLflow run", run_id),
        ("training fingerprint", fingerprint),
        ("run", run.name),
        ("cvflow", run.resolved["cvflow"]["version"]),
    ]
    return ["## Where it comes from", table(["", ""], rows)]


def training_part(run: Run) -> list[str]:
    """Return the recipe that the model was trained by."""
    recipe = {key: value for key, value in run.trained_by.items() if key != "cvflow"}
    text = yaml.safe_dump(recipe, sort_keys=False, width=120)
    return ["## How it was trained", f"```yaml\n{text}```"]


def facts(run: Run) -> dict[str, Any]:
    """Return what the model is: its task, its network, and what it takes in."""
    recipe = read_recipe(run.trained_by)
    height, width = recipe.image.size
    colours = "grey" if recipe.image.channels == 1 else "RGB"
    network = [recipe.model.name]
    for key, value in recipe.model.model_dump(mode="json", exclude={"name", "weights"}).items():
        network.append(f"{key}={_plain(value)}")
    initial = "the network's published weights" if pretrained(run) else "random weights"
    return {
        "task": recipe.task.name,
        "network": " ".join(network),
        "weights": f"{_num_parameters(run.path('model') / 'model.safetensors'):,} numbers",
        "input": f"{height} x {width} pixels, {colours}; other sizes: {recipe.image.resize}",
        "started from": recipe.model.weights or initial,
    }


def pretrained(run: Run) -> bool:
    """Whether any part of the model starts from its published weights."""
    options = flatten(run.trained_by["model"])
    return any(key.endswith("pretrained") and value == "true" for key, value in options)


def apart(run: Run, split: str) -> str:
    """Return how many images of the split are in train too, as prepare found, in words."""
    topic = f"train and {split}{SHARE}"
    validation = _read_json(run.path("validation.json"))
    shared = sum(finding["topic"] == topic for finding in validation["findings"])
    if not shared:
        return "which it was not trained on"
    return f"{shared} of whose images are in train, too: the figures flatter"


def counts(info: DatasetInfo) -> str:
    """Return a table of the samples of each class in each split."""
    splits = list(info.counts)
    by_class = info.extra.get("class_counts", {})
    rows = [["all", *info.counts.values()]]
    if by_class:
        for name in info.classes:
            rows.append([name, *(by_class.get(split, {}).get(name, 0) for split in splits)])
    # the row of all samples does not count
    hidden = len(rows) - SHOWN_CLASSES - 1
    return cut(table(["class", *splits], rows[: SHOWN_CLASSES + 1]), hidden)


def class_tables(name: str, figure: Mapping[str, Any]) -> Iterator[str]:
    """Yield the title and text of a figure of the evaluation, if it is a table."""
    if figure.get("figure") == "table":
        rows = figure["rows"]
        text = table(figure["columns"], rows[:SHOWN_CLASSES])
        yield f"### {name.replace('_', ' ').capitalize()}"
        yield cut(text, len(rows) - SHOWN_CLASSES)


def cut(text: str, hidden: int) -> str:
    """Return a table's text, with a note if rows of it are not shown."""
    if hidden <= 0:
        return text
    return f"{text}\n\n... and {hidden} more, in the report."


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return a Markdown table; fractions with four digits, None as a dash."""
    rule = ["---"] * len(columns)
    lines = [_line(columns), _line(rule)]
    for row in rows:
        cells = list(map(_cell, row))
        lines.append(_line(cells))
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    text = f"{value:.4f}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")


def _read_json(file: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(file.read_text())
    return content


def _plain(value: Any) -> str:
    """Return an option's value in a word: of a component its name."""
    if isinstance(value, dict) and "name" in value:
        return str(value["name"])
    return str(value)


def _num_parameters(weights: Path) -> int:
    from safetensors import safe_open

    total = 0
    with safe_open(weights, "numpy") as file:
        for name in file.keys():  # noqa: SIM118, it is no mapping
            total += math.prod(file.get_slice(name).get_shape())
    return total
