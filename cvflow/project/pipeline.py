"""``cvflow run``: a recipe's run added or changed, its stages reproduced by DVC, the registry
checked against the cache.
"""

from __future__ import annotations

import importlib
import io
import json
import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, redirect_stderr
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

from cvflow.errors import CvflowError, Fault, InterruptedRunError, RequestError, did_you_mean, one_of
from cvflow.project import project
from cvflow.project.dry_run import Step, plan
from cvflow.project.graph import BY_NAME, NAMES, Run, find_entry, read_runs
from cvflow.project.resolved import answer_file
from cvflow.recipe.layers import load
from cvflow.runtime import dvc
from cvflow.runtime.interrupts import cut_short, handled_by, raise_once
from cvflow.runtime.registry_look import champion_version, holds
from cvflow.runtime.tracking_uri import tracking_uri

STATUS_FILE = "CVFLOW_STATUS_FILE"
QUIET = "CVFLOW_QUIET"
INTERRUPTED = "interrupted; the same command goes on from the last checkpoint"


@dataclass(frozen=True)
class Outcome:
    """Where a finished run's results are."""

    run: str
    metrics: dict[str, float]
    split: str
    model: str
    version: int
    champion: bool
    reason: str
    model_dir: str
    report: str
    predictions: str

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class StageFailedError(CvflowError):
    """A stage failed and has said why itself; carries its exit status."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def run(
    recipe: str,
    overrides: Mapping[str, Any] | None = None,
    name: str | None = None,
    quiet: bool = False,
    verbose: bool = False,
) -> Outcome:
    """Reproduce a recipe's run, from raw data to report. overrides: dotted key -> value."""
    with entered(recipe, overrides or {}, name) as chosen:
        reproduce([f"report@{chosen}"], quiet=quiet, verbose=verbose)
        if not registry_holds(Run(chosen)):
            sys.stderr.write("the registry lacks this version: registering it again\n")
            reproduce([f"register@{chosen}"], force_one=True, quiet=quiet, verbose=verbose)
            reproduce([f"report@{chosen}"], quiet=quiet, verbose=verbose)
        return outcome(Run(chosen))


@contextmanager
def entered(recipe: str, overrides: Mapping[str, Any], name: str | None) -> Iterator[str]:
    """Put the run into the project, new or changed, once it is checked; gives its name.

    It is this process's while the body runs.
    """
    file, chosen = requested(recipe, name)
    check_change(chosen, file, overrides)
    with project.locked(f"run-{chosen}", f"at work on run {chosen}"):
        with project.locked("project", "setting up the project"):
            dvc.initialise()
            project.write_pipeline()
            recipe_file = project.adopt(file)
        entry = project.make_entry(recipe_file, overrides)
        if read_runs().get(chosen) != entry:
            project.write_entry(chosen, entry)
        yield chosen


def dry_run(recipe: str, overrides: Mapping[str, Any] | None = None, name: str | None = None) -> list[Step]:
    """What ``run`` would do; the recipe is checked, nothing is written."""
    file, chosen = requested(recipe, name)
    recipe_file = project.place(file)
    return plan(chosen, load(recipe_file if recipe_file.exists() else file, overrides or {}))


def requested(recipe: str, name: str | None) -> tuple[Path, str]:
    """The recipe's file and the run's name. Raises RequestError where this directory cannot take the run."""
    file = project.locate(recipe)
    chosen = project.run_name(file, name)
    project.check_pipeline_is_ours()
    project.check_name_is_free(chosen, project.place(file))
    return file, chosen


def check_change(name: str, recipe: Path, overrides: Mapping[str, Any]) -> None:
    """Check a new or changed entry whole before anything is written; an unchanged one is the
    resolve stage's.
    """
    old = read_runs().get(name)
    if old is None or dict(old.get("overrides") or {}) != dict(overrides):
        # imports torch; the resolve stage finds the answer there
        answer_file(load(recipe, overrides))


def reproduce(targets: list[str], **flags: bool) -> None:
    """``dvc repro`` with the exit status of the stage that failed, which DVC flattens to its own."""
    with tempfile.NamedTemporaryFile("r", prefix="cvflow-status-") as file:
        os.environ[STATUS_FILE] = file.name
        os.environ[QUIET] = "1" if flags.get("quiet") else ""
        try:
            with sigterm_passed_on() as passed:
                status = dvc.repro(targets, **flags)
        except KeyboardInterrupt as error:
            raise InterruptedRunError(INTERRUPTED) from error
        finally:
            del os.environ[STATUS_FILE], os.environ[QUIET]
        said = file.read().split()
    if status == 0:
        return
    if status == dvc.INTERRUPTED or cut_short() or (passed and not said):
        raise InterruptedRunError(INTERRUPTED)
    code = int(said[1]) if said else 1
    if code == InterruptedRunError.exit_code:
        raise InterruptedRunError(INTERRUPTED)
    raise StageFailedError(f"stage {said[0]} failed" if said else "dvc repro failed", code)


@contextmanager
def sigterm_passed_on() -> Iterator[list[int]]:
    """SIGTERM goes to the stage that runs, which checkpoints; it comes to this process alone, not
    to its group as Ctrl-C does.

    Gives the pids that it was sent to.
    """
    passed: list[int] = []

    def pass_on(number: int, frame: FrameType | None) -> None:
        stages = dvc.running_stages()
        for pid in stages:
            os.kill(pid, signal.SIGTERM)
        passed.extend(stages)
        if not stages:
            raise_once(number, frame)

    with handled_by(pass_on, [signal.SIGTERM]):
        yield passed


def registry_holds(run: Run) -> bool:
    """Whether the registry still has what the cache says: a light look, no mlflow import for a
    local store.
    """
    said = json.loads(run.path("registered.json").read_text())
    return bool(holds(tracking_uri(), said["model"], said["version"], said["fingerprint"]))


def outcome(run: Run) -> Outcome:
    """The results of a finished run, read from its files."""
    said = json.loads(run.path("registered.json").read_text())
    measured = json.loads((run.path("evaluation") / "metrics.json").read_text())
    paths = {
        key: str(run.path(name))
        for key, name in (("model_dir", "model"), ("report", "report.html"), ("predictions", "predictions"))
    }
    standing = champion_version(tracking_uri(), said["model"])
    is_champion = standing == said["version"]
    reason = (
        said["reason"]
        if is_champion == said["promoted"]
        else f"{'champion' if is_champion else 'challenger'}: now version {standing} is champion"
    )
    return Outcome(
        run=run.name,
        metrics=measured["metrics"],
        split=measured["split"],
        model=said["model"],
        version=said["version"],
        champion=is_champion,
        reason=reason,
        **paths,
    )


def run_stage(stage: str, name: str) -> None:
    """One stage of a run, as DVC's commands and ``cvflow stage`` call it."""
    try:
        if stage not in NAMES:
            raise RequestError(Fault("STAGE", f"'{stage}'", one_of(NAMES), did_you_mean(stage, NAMES)))
        find_entry(name)
        run = Run(name)
        run.needs(stage)
        if stage in BY_NAME:
            _ = run.recipe  # read, and found right, before anything is removed
        run.clear(stage)
        with redirect_stderr(io.StringIO()) if os.environ.get(QUIET) else nullcontext():
            getattr(module_of(stage, run), stage)(run)
    except BaseException as error:
        code = getattr(error, "exit_code", 130 if isinstance(error, KeyboardInterrupt) else 1)
        if path := os.environ.get(STATUS_FILE):
            Path(path).write_text(f"{stage} {code}")
        raise


def module_of(stage: str, run: Run) -> ModuleType:
    """A stage imports torch, MLflow or Ray only when it runs; Ray, where it needs it, starts meanwhile."""
    name, needed = f"cvflow.stages.{stage}", {"tune": "ray_tune"}
    if stage in BY_NAME and run.recipe.compute.workers:
        needed["train"] = "ray_train"
    if stage in needed:
        from cvflow.runtime.cluster import connect

        # Tune's own worker processes have another environment
        connect(run.recipe.compute, meanwhile=[name, f"cvflow.runtime.{needed[stage]}"], bare=stage == "tune")
    return importlib.import_module(name)
