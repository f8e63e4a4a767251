"""What every test shares: one thread, no telemetry, the data that lies beside the repository."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
pytest_plugins = ["tests.fixtures.folders", "tests.fixtures.projects", "tests.fixtures.tiles"]
ENVIRONMENT = {
    # two threads beside another busy process are many times slower than one
    "OMP_NUM_THREADS": "1",
    "DVC_NO_ANALYTICS": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
}
for variable, value in ENVIRONMENT.items():
    os.environ.setdefault(
        variable, value
    )  # before torch is imported, and for every process that a test starts


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the repository."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real data sets and weights; the test is skipped where they are not there."""
    path = REPOSITORY.parent / "shared" / "data"
    if not path.is_dir():
        pytest.skip(f"no real data at {path}")
    return path


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory, the current one during the test."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
