"""A model's files as MLflow's logged model of a run, which its own serving can execute.

Importing this costs nothing.
"""

from __future__ import annotations

import json
import tempfile
import warnings
from importlib import metadata
from pathlib import Path
from typing import Any

import cvflow
from cvflow.registry import Component, build

WRAPPER = Path(__file__).with_name("pyfunc_model.py")


def log_model(client: Any, run_id: str, model_dir: Path, card: Path) -> str:
    """The id of a new logged model of the run.

    Not ``mlflow.pyfunc.log_model``: that would make the run the process's active one, end it anew,
    and set the process's tracking URI.
    """
    from mlflow.entities import LoggedModelOutput, LoggedModelStatus
    from mlflow.models import Model

    logged = client.create_logged_model(
        client.get_run(run_id).info.experiment_id, name="model", source_run_id=run_id
    )
    described = Model(artifact_path=logged.artifact_location, run_id=run_id, model_id=logged.model_id)
    with tempfile.TemporaryDirectory() as scratch:
        save(Path(scratch) / "model", model_dir, card, described)
        client.log_model_artifacts(logged.model_id, f"{scratch}/model")
    client.finalize_logged_model(logged.model_id, LoggedModelStatus.READY)
    client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
    return str(logged.model_id)


def save(path: Path, model_dir: Path, card: Path, described: Any) -> None:
    """Write what MLflow loads. described: the ``mlflow.models.Model`` that it is to be."""
    import mlflow.pyfunc
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema, TensorSpec
    from mlflow.types.schema import AnyType

    # AnyType: base64 text or bytes
    specs: list[ColSpec | TensorSpec] = [ColSpec(AnyType(), name) for name in _images(model_dir)]  # type: ignore[no-untyped-call]
    columns = Schema(specs)
    artifacts = {"model": str(model_dir.absolute()), "card": str(card.absolute())}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*input example was not provided")
        mlflow.pyfunc.save_model(
            str(path),
            python_model=str(WRAPPER),
            artifacts=artifacts,
            pip_requirements=_requirements(),
            signature=ModelSignature(inputs=columns),
            mlflow_model=described,
        )


def _images(model_dir: Path) -> tuple[str, ...]:
    """The names of the images that one answer takes, by the model's task."""
    task = Component.model_validate(json.loads((model_dir / "model.json").read_text())["recipe"]["task"])
    images: tuple[str, ...] = build("task", task).schema.images
    return images


def _requirements() -> list[str]:
    """Pins; without a local label as in ``2.14.1+cpu``, which no package index knows."""
    pins = {name: metadata.version(name).split("+")[0] for name in ("torch", "torchvision", "mlflow")}
    return [f"{name}=={version}" for name, version in {"cvflow": cvflow.__version__, **pins}.items()]
