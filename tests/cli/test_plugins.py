"""Plug-ins from the command line: a task with its answer, a format, a model and a transform of
one's own, through every verb.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

Cvflow = Callable[..., subprocess.CompletedProcess[str]]
PLUGINS = Path(__file__).parents[1] / "plugins"
RECIPE = {
    "plugins": ["count_task.py", "amount_net.py", "amounts_csv.py", "speckle.py"],
    "task": "amount",
    "data": {"format": "amounts_csv", "source": "../raw", "split": {"val": 0.2, "test": 0.2}},
    "image": {"size": [12, 12], "channels": 1},
    "model": "amount_net",
    "train": {
        "epochs": 12,
        "batch_size": 8,
        "optimizer": {"name": "adamw", "lr": 0.01},
        "augment": [{"name": "speckle", "share": 0.01}],
    },
    "compute": {"threads": 1},
}


@pytest.fixture(scope="module")
def amounts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with raw data, the plug-ins and a recipe for them; nothing run yet."""
    root = tmp_path_factory.mktemp("amounts")
    (root / "raw").mkdir()
    lines = ["file,amount"]
    for number in range(60):
        level = number / 60
        noise = np.random.default_rng(number).normal(0, 8, (12, 12))
        Image.fromarray(np.clip(255 * level + noise, 0, 255).astype(np.uint8)).save(
            root / f"raw/{number}.png"
        )
        lines.append(f"{number}.png,{level}")
    (root / "raw/amounts.csv").write_text("\n".join(lines) + "\n")
    (root / "recipes").mkdir()
    for file in RECIPE["plugins"]:  # type: ignore[attr-defined]
        shutil.copy(PLUGINS / file, root / "recipes")
    (root / "recipes/amounts.yaml").write_text(yaml.safe_dump(RECIPE))
    return root


def test_a_run_of_plug_ins_alone_and_its_model_elsewhere(
    amounts: Path, tmp_path: Path, cvflow: Cvflow
) -> None:
    cvflow(amounts, "run", "recipes/amounts.yaml")
    model = amounts / "runs/amounts/model"
    metrics = (amounts / "runs/amounts/evaluation/metrics.json").read_text()
    assert yaml.safe_load(metrics)["metrics"]["mae"] < 0.15

    # in its own project, the recipes' plug-ins are known
    cvflow(amounts, "predict", "amounts", "raw", "--out", "here")
    table = pq.read_table(amounts / "here")
    assert table.column_names == ["id", "error", "amount", "model_version", "data_hash"]
    assert len(table) == 60

    # elsewhere they are not, and can be given
    refused = cvflow(tmp_path, "predict", str(model), str(amounts / "raw"), code=2)
    assert "'amount'" in refused.stderr
    files = ["--plugin", str(PLUGINS / "count_task.py"), "--plugin", str(PLUGINS / "amount_net.py")]
    files += ["--plugin", str(PLUGINS / "speckle.py")]
    cvflow(tmp_path, "predict", str(model), str(amounts / "raw"), "--out", "there", *files)
    assert pq.read_table(tmp_path / "there")["amount"] == table["amount"]
    cvflow(tmp_path, "export", str(model), "--out", "amount.onnx", *files)
    assert (tmp_path / "amount.onnx").stat().st_size > 0
    compares = cvflow(
        tmp_path, "identify", str(model), str(amounts / "raw"), str(amounts / "raw"), *files, code=2
    )
    assert "got a model of amount, expected one that gives vectors" in compares.stderr


def test_data_check_and_new_with_plug_ins(amounts: Path, tmp_path: Path, cvflow: Cvflow) -> None:
    shutil.copytree(amounts / "raw", tmp_path / "raw")
    files = ["--plugin", str(PLUGINS / "count_task.py"), "--plugin", str(PLUGINS / "amounts_csv.py")]
    checked = cvflow(tmp_path, "data", "check", "raw", "--format", "amounts_csv", "--task", "amount", *files)
    assert "60 images" in checked.stdout
    unknown = cvflow(tmp_path, "data", "check", "raw", "--format", "amounts_csv", code=2)
    assert "--format: got 'amounts_csv'" in unknown.stderr


def test_a_plug_in_that_fails_is_named(tmp_path: Path, cvflow: Cvflow) -> None:
    (tmp_path / "broken.py").write_text("import nothing_of_this_name\n")
    failed = cvflow(tmp_path, "predict", "m", "raw", "--plugin", "broken.py", code=2)
    assert "--plugin: got ModuleNotFoundError: No module named 'nothing_of_this_name'" in failed.stderr
    absent = cvflow(tmp_path, "new", "x", "--data", ".", "--plugin", "none.py", code=2)
    assert "--plugin: got 'none.py', expected a Python file" in absent.stderr
