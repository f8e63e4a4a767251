"""Transfer in its forms on real photographs, each far above guessing and the same network from
scratch; and test-time views.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cvflow.project.graph import Run
from cvflow.project.project import make_entry, write_entry
from cvflow.stages.evaluate import evaluate
from cvflow.stages.prepare import prepare
from cvflow.stages.resolve import resolve
from cvflow.stages.train import train

RECIPES = Path(__file__).parent / "recipes"
STEPS = {
    "train.kind": "sgd",
    "train.schedule": "cosine",
    "train.epochs": 4,
    "train.optimizer": {"name": "sgd", "lr": 0.01},
}
FORMS: dict[str, dict[str, Any]] = {
    "features and a linear classifier": {},
    "features and a linear SVM": {"train.kind": {"name": "fit", "estimator": "svm", "c": 0.0005}},
    "the top layers": {**STEPS, "train.freeze": "backbone.features.13"},
    "all layers": STEPS,
    "from scratch": {**STEPS, "model.weights": None},
}


def measure(run: Run, recipe: Path, overrides: dict[str, Any], *stages: Any) -> float:
    """The test accuracy after these stages."""
    write_entry(run.name, make_entry(recipe, {"compute.threads": 1, **overrides}))
    for stage in (resolve, *stages, evaluate):
        stage(run)
    accuracy: float = json.loads((run.path("evaluation") / "metrics.json").read_text())["metrics"]["accuracy"]
    return accuracy


@pytest.fixture
def cifar(shared_data: Path) -> None:
    for path in (shared_data / "cifar10_jpg", shared_data / "weights"):
        if not path.is_dir():
            pytest.skip(f"no {path}")


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")
@pytest.mark.usefixtures("cifar")
def test_every_form_beats_guessing_by_far(project: Path) -> None:
    prepared: list[Any] = [prepare]
    accuracy = {}
    for form, overrides in FORMS.items():
        accuracy[form] = measure(Run("transfer"), RECIPES / "transfer.yaml", overrides, *prepared, train)
        print(f"{form}: {accuracy[form]:.4f}")
        prepared = []
    scratch = accuracy.pop("from scratch")
    assert min(accuracy.values()) > max(0.5, scratch + 0.3), {**accuracy, "from scratch": scratch}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")
@pytest.mark.usefixtures("cifar")
def test_an_image_and_its_mirror_are_better_than_the_image(project: Path) -> None:
    """The published ResNet-56, which measures 0.8315 by one look (tests/test_proof_cifar.py)."""
    accuracy = measure(
        Run("mirrored"),
        RECIPES / "cifar10_resnet56.yaml",
        {"evaluate.views": ["horizontal_flip"]},
        prepare,
        train,
    )
    print(f"both: {accuracy:.4f}")
    assert accuracy > 0.8315
