"""The wheel: what is in it, and that an installed cvflow works in an empty directory."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Path:
    """Built from a copy of the sources, without the network."""
    copy, out = tmp_path_factory.mktemp("sources") / "cvflow", tmp_path_factory.mktemp("wheel")
    shutil.copytree(
        repository,
        copy,
        ignore=shutil.ignore_patterns(".*", "*.egg-info", "tests", "build", "runs", "mlartifacts", "*.db"),
    )
    subprocess.run(
        [*PIP, "wheel", "--no-deps", "--no-build-isolation", "-w", str(out), str(copy)],
        check=True,
        timeout=200,
    )
    (built,) = out.glob("cvflow-*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with nothing but the installed wheel."""
    target = tmp_path_factory.mktemp("installed")
    subprocess.run(
        [*PIP, "install", "--no-deps", "--target", str(target), str(wheel)], check=True, timeout=200
    )
    return target


def test_the_wheel_holds_everything_and_nothing_else(wheel: Path, repository: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"cvflow"}
    assert {
        "cvflow/cli/app.py",
        "cvflow/pipelines/digits.yaml",
        "cvflow/py.typed",
        "cvflow/runtime/pyfunc_model.py",
    } <= set(names)
    sources = {
        str(path.relative_to(repository))
        for path in (repository / "cvflow").rglob("*")
        if path.suffix in (".py", ".html", ".css") and "__pycache__" not in path.parts
    }
    assert sources - set(names) == set()


def run(installed: Path, cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(installed), "PATH": f"{installed / 'bin'}:/usr/bin:/bin"}
    return subprocess.run(
        [sys.executable, "-m", "cvflow.cli", *arguments],
        cwd=cwd,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
        timeout=280,
    )


def test_an_installed_cvflow_is_found_instead_of_the_checkout(installed: Path, project: Path) -> None:
    code = "import cvflow, cvflow.cli; print(cvflow.__file__); print(cvflow.cli.__file__)"
    found = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(installed)},
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    assert [Path(file).parent for file in found] == [installed / "cvflow", installed / "cvflow" / "cli"]
    assert "handwritten digits" in run(installed, project, "list").stdout
    assert "name: digits" in run(installed, project, "show", "digits").stdout
    assert list(project.iterdir()) == []


@pytest.mark.slow
def test_a_whole_run_in_an_empty_directory(installed: Path, project: Path) -> None:
    done = run(installed, project, "run", "digits", "train.epochs=2")
    assert "models:/digits/1" in done.stdout
    assert (project / "pipelines" / "digits.yaml").is_file()
    assert str(installed) not in (project / "dvc.yaml").read_text()
