"""The command line stays light: which commands import nothing heavy, in every process they start,
and how soon help is there.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

HEAVY = {
    "torch",
    "torchvision",
    "timm",
    "ray",
    "mlflow",
    "dvc",
    "pyarrow",
    "pandas",
    "sklearn",
    "matplotlib",
    "scipy",
}
CVFLOW = str(Path(sys.executable).parent / "cvflow")
RECORDER = """
import atexit, os, sys
def _write():
    with open(os.path.join(os.environ["CVFLOW_TEST_IMPORTS"], str(os.getpid())), "w") as file:
        file.write("\\n".join({name.partition(".")[0] for name in sys.modules}))
atexit.register(_write)
"""
"""As sitecustomize.py: every Python process says at its end what it imported."""

Imported = Callable[..., set[str]]


@pytest.fixture
def imported(tmp_path: Path, project: Path) -> Imported:
    """Run ``cvflow`` with arguments: the top-level modules imported by it and by every process it started."""
    hook = tmp_path / "hook"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(RECORDER)

    def run(*arguments: str) -> set[str]:
        said = tmp_path / f"said{time.monotonic_ns()}"
        said.mkdir()
        environment = os.environ | {"PYTHONPATH": str(hook), "CVFLOW_TEST_IMPORTS": str(said)}
        subprocess.run([CVFLOW, *arguments], env=environment, check=True, capture_output=True, text=True)
        assert list(said.iterdir()), "nothing was recorded"
        return {name for file in said.iterdir() for name in file.read_text().split()}

    return run


@pytest.mark.parametrize(
    "arguments",
    [("--help",), ("run", "--help"), ("predict", "--help"), ("--version",), ("list",), ("list", "--json")],
)
def test_help_and_list_import_nothing_heavy(imported: Imported, arguments: tuple[str, ...]) -> None:
    found = imported(*arguments)
    assert "cvflow" in found
    assert found & HEAVY == set()


def test_a_run_without_changes_imports_no_torch_ray_or_mlflow(imported: Imported) -> None:
    tiny = ("run", "digits", "train.epochs=0", "model.backbone=lenet", "register.promote.threshold=0")
    assert {"torch", "mlflow"} <= imported(*tiny), "the recorder sees what the stages import"
    again = imported(*tiny)
    assert "dvc" in again
    assert again & {"torch", "ray", "mlflow", "timm"} == set()


def test_importing_cvflow_is_light() -> None:
    code = f"import cvflow, sys; print({HEAVY} & set(sys.modules))"
    assert (
        subprocess.run(
            [sys.executable, "-c", code], check=True, capture_output=True, text=True
        ).stdout.strip()
        == "set()"
    )


def test_help_comes_within_four_tenths_of_a_second() -> None:
    """The quickest of a few tries: another process on the machine must not fail it."""
    quickest = 9.0
    for _ in range(12):
        began = time.perf_counter()
        subprocess.run([CVFLOW, "--help"], check=True, capture_output=True)
        quickest = min(quickest, time.perf_counter() - began)
        if quickest < 0.4:
            break
    assert quickest < 0.4, f"cvflow --help took {quickest:.2f} s"


@pytest.mark.parametrize(
    ("given", "spins"),
    [({}, "3000"), ({"OMP_WAIT_POLICY": "passive"}, "None"), ({"GOMP_SPINCOUNT": "7"}, "7")],
)
def test_how_a_command_s_threads_wait_and_how_it_ends(given: dict[str, str], spins: str) -> None:
    """The user's own settings of OpenMP stay; at the end the collector has nothing to look through."""
    told = "print(os.environ.get('GOMP_SPINCOUNT'), gc.get_freeze_count() > 0)"
    code = f"import atexit, gc, os; atexit.register(lambda: {told}); from cvflow.cli import main; main()"
    clean = {
        name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    }
    done = subprocess.run(
        [sys.executable, "-c", code, "--version"],
        env=clean | given,
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.splitlines()[-1] == f"{spins} True"
