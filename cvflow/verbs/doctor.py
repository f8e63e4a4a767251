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
    ok = sys.version_info >= (3, 11)
    fix = "" if ok else "install Python 3.11 or newer"
    return Finding(ok, "python", platform.python_version(), fix)


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
    ok = free > LEAST_SHARED_GB
    fix = "" if ok else "docker run --shm-size=2g ..."
    return Finding(ok, "shared memory", f"{free:.1f} GB free", fix)


def disk() -> Finding:
    """Examine the disk of the current directory."""
    free = shutil.disk_usage(".").free / 1e9
    ok = free > LEAST_FREE_GB
    fix = "" if ok else "dvc gc --workspace"
    return Finding(ok, "disk here", f"{free:.0f} GB free", fix)


def command(name: str) -> Finding:
    """Examine a command that cvflow can do without."""
    path = shutil.which(name)
    return Finding(True, name, path or "missing (cvflow works without; runs then carry no revision)")


def project() -> Finding:
    """Examine whether there is a project in the current directory."""
    if Path("dvc.yaml").exists() and Path("params.yaml").exists():
        return Finding(True, "project", str(Path.cwd()))
    return Finding(True, "project", "none here yet: 'cvflow run digits' makes one")


def tracking() -> Finding:
    """Examine MLflow's store; a server must answer."""
    from cvflow.runtime.tracking_uri import tracking_uri, without_password

    uri = tracking_uri()
    shown = without_password(uri)
    if not uri.startswith("http"):
        return Finding(True, "MLflow store", shown)
    try:
        urllib.request.urlopen(uri.rstrip("/") + "/health", timeout=SECONDS).close()
    except (OSError, urllib.error.URLError) as error:
        fix = "mlflow server --port ..., or: unset MLFLOW_TRACKING_URI"
        return Finding(False, "MLflow store", f"{shown} does not answer ({error})", fix)
    return Finding(True, "MLflow store", shown)


def ray_cluster() -> Finding:
    """Examine the Ray cluster that the environment names; it must answer."""
    address = os.environ.get("RAY_ADDRESS", "")
    if not address:
        state = "none named: a local Ray is started for each run that wants workers"
        return Finding(True, "ray cluster", state)
    # without the slashes the host would be taken for a path
    parts = urlsplit(address if "//" in address else f"//{address}")
    try:
        host, port = parts.hostname or "", parts.port or 6379
        socket.create_connection((host, port), timeout=SECONDS).close()
    except OSError as error:
        fix = "ray start --head, or: unset RAY_ADDRESS"
        return Finding(False, "ray cluster", f"{address} does not answer ({error})", fix)
    return Finding(True, "ray cluster", address)
