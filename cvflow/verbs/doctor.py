"""``cvflow doctor``: versions, devices, what is reachable, what to type for what is missing."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import socket
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from urllib.parse import urlsplit

PACKAGES = ("torch", "torchvision", "ray", "mlflow", "dvc", "pyarrow", "timm")
LEAST_FREE_GB = 5


@dataclass(frozen=True)
class Finding:
    ok: bool
    what: str
    found: str
    fix: str = ""


def examine() -> list[Finding]:
    """Everything looked at, good or bad."""
    return [
        python(),
        *map(package, PACKAGES),
        device(),
        shared_memory(),
        disk(),
        command("git"),
        project(),
        tracking(),
        ray_cluster(),
    ]


def python() -> Finding:
    enough = sys.version_info >= (3, 11)
    return Finding(
        enough, "python", platform.python_version(), "" if enough else "install Python 3.11 or newer"
    )


def package(name: str) -> Finding:
    try:
        return Finding(importlib.util.find_spec(name) is not None, name, version(name))
    except PackageNotFoundError:
        return Finding(False, name, "missing", f"pip install {name}")


def device() -> Finding:
    try:
        import torch
    except (ImportError, OSError) as error:
        return Finding(
            False,
            "devices",
            f"torch does not import: {error}",
            "pip install -c constraints.txt torch torchvision",
        )
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        return Finding(True, "devices", ", ".join(names))
    return Finding(True, "devices", f"cpu, {os.cpu_count()} cores (no CUDA device: training runs on the CPU)")


def shared_memory() -> Finding:
    path = Path("/dev/shm")
    if not path.is_dir():
        return Finding(True, "shared memory", "the system's own")
    free = shutil.disk_usage(path).free / 1e9
    return Finding(
        free > 0.5,
        "shared memory",
        f"{free:.1f} GB free",
        "" if free > 0.5 else "docker run --shm-size=2g ...",
    )


def disk() -> Finding:
    free = shutil.disk_usage(".").free / 1e9
    return Finding(
        free > LEAST_FREE_GB,
        "disk here",
        f"{free:.0f} GB free",
        "" if free > LEAST_FREE_GB else "dvc gc --workspace",
    )


def command(name: str) -> Finding:
    path = shutil.which(name)
    return Finding(True, name, path or "missing (cvflow works without; runs then carry no revision)")


def project() -> Finding:
    here = Path("dvc.yaml").exists() and Path("params.yaml").exists()
    return Finding(
        True, "project", f"{Path.cwd()}" if here else "none here yet: 'cvflow run digits' makes one"
    )


def tracking() -> Finding:
    from cvflow.runtime.tracking_uri import tracking_uri, without_password

    uri = tracking_uri()
    shown = without_password(uri)
    if not uri.startswith("http"):
        return Finding(True, "MLflow store", shown)
    try:
        urllib.request.urlopen(uri.rstrip("/") + "/health", timeout=3).close()
        return Finding(True, "MLflow store", shown)
    except (OSError, urllib.error.URLError) as error:
        return Finding(
            False,
            "MLflow store",
            f"{shown} does not answer ({error})",
            "mlflow server --port ..., or: unset MLFLOW_TRACKING_URI",
        )


def ray_cluster() -> Finding:
    address = os.environ.get("RAY_ADDRESS", "")
    if not address:
        return Finding(
            True, "ray cluster", "none named: a local Ray is started for each run that wants workers"
        )
    parts = urlsplit(address if "//" in address else f"//{address}")
    try:
        socket.create_connection((parts.hostname or "", parts.port or 6379), timeout=3).close()
        return Finding(True, "ray cluster", address)
    except OSError as error:
        return Finding(
            False,
            "ray cluster",
            f"{address} does not answer ({error})",
            "ray start --head, or: unset RAY_ADDRESS",
        )
