"""``cvflow doctor``: versions, devices and services, and what to type if one is missing."""

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
from typing import Any
from urllib.parse import urlsplit

PACKAGES = ("torch", "torchvision", "ray", "mlflow", "dvc", "pyarrow", "timm")
LEAST_FREE_GB = 5
LEAST_SHARED_GB = 0.5
SECONDS = 3
"""How long a service may take to answer."""


@dataclass(frozen=True)
class Finding:
    """One thing that was examined.

    state: what it is like, in a few words. fix: what to type if it is not ok.
    """

    ok: bool
    what: str
    state: str
    fix: str = ""

    def plain(self) -> dict[str, Any]:
        """Return JSON data."""
        return {"ok": self.ok, "what": self.what, "found": self.state, "fix": self.fix}


def examine() -> list[Finding]:
    """Examine everything; return what is good and what is bad."""
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
    """Examine the version of Python."""
    installed = platform.python_version()
    is_new_enough = sys.version_info >= (3, 11)
    if is_new_enough:
        return Finding(True, "python", installed)
    return Finding(False, "python", installed, "install Python 3.11 or newer")


def package(name: str) -> Finding:
    """Examine an installed package."""
    try:
        installed = version(name)
    except PackageNotFoundError:
        return Finding(False, name, "missing", f"pip install {name}")
    # its description may be there although its files are not
    return Finding(importlib.util.find_spec(name) is not None, name, installed)


def device() -> Finding:
    """Examine the devices that torch can use."""
    try:
        import torch
    except (ImportError, OSError) as error:
        fix = "pip install -c constraints.txt torch torchvision"
        return Finding(False, "devices", f"torch does not import: {error}", fix)
    if not torch.cuda.is_available():
        cores = f"cpu, {os.cpu_count()} cores"
        return Finding(True, "devices", f"{cores} (no CUDA device: training runs on the CPU)")
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return Finding(True, "devices", ", ".join(names))


def shared_memory() -> Finding:
    """Examine the shared memory, which containers often have too little of."""
    path = Path("/dev/shm")
    if not path.is_dir():
        return Finding(True, "shared memory", "the system's own")
    free = shutil.disk_usage(path).free / 1e9
    state = f"{free:.1f} GB free"
    if free > LEAST_SHARED_GB:
        return Finding(True, "shared memory", state)
    return Finding(False, "shared memory", state, "docker run --shm-size=2g ...")


def disk() -> Finding:
    """Examine the disk of the current directory."""
    free = shutil.disk_usage(".").free / 1e9
    state = f"{free:.0f} GB free"
    if free > LEAST_FREE_GB:
        return Finding(True, "disk here", state)
    return Finding(False, "disk here", state, "dvc gc --workspace")


def command(name: str) -> Finding:
    """Examine a command that cvflow can do without."""
    path = shutil.which(name)
    if path is None:
        return Finding(True, name, "missing (cvflow works without; runs then carry no revision)")
    return Finding(True, name, path)


def project() -> Finding:
    """Examine whether there is a project in the current directory."""
    if Path("dvc.yaml").exists() and Path("params.yaml").exists():
        return Finding(True, "project", str(Path.cwd()))
    return Finding(True, "project", "none here yet: 'cvflow run digits' makes one")


def tracking() -> Finding:
    """Examine MLflow's store; a server must answer."""
    from cvflow.runtime.tracking_uri import tracking_uri, without_password

    uri = tracking_uri()
    public_uri = without_password(uri)
    if not uri.startswith("http"):
        return Finding(True, "MLflow store", public_uri)
    try:
        urllib.request.urlopen(uri.rstrip("/") + "/health", timeout=SECONDS).close()
    except (OSError, urllib.error.URLError) as error:
        fix = "mlflow server --port ..., or: unset MLFLOW_TRACKING_URI"
        return Finding(False, "MLflow store", f"{public_uri} does not answer ({error})", fix)
    return Finding(True, "MLflow store", public_uri)


def ray_cluster() -> Finding:
    """Examine the Ray cluster that the environment names; it must answer."""
    address = os.environ.get("RAY_ADDRESS", "")
    if not address:
        state = "none named: a local Ray is started for each run that wants workers"
        return Finding(True, "ray cluster", state)
    # without the slashes the host would be taken for a path
    url = address if "//" in address else f"//{address}"
    parts = urlsplit(url)
    try:
        host, port = parts.hostname or "", parts.port or 6379
        socket.create_connection((host, port), timeout=SECONDS).close()
    except OSError as error:
        fix = "ray start --head, or: unset RAY_ADDRESS"
        return Finding(False, "ray cluster", f"{address} does not answer ({error})", fix)
    return Finding(True, "ray cluster", address)
