"""DVC: set-up, reproduction in this process, and the digest it gave an output. The only module that imports dvc."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


def environment() -> None:
    """So that the commands DVC starts find this interpreter's cvflow, and nothing phones home."""
    scripts = str(Path(sys.executable).parent)
    if os.environ.get("PATH", "").split(os.pathsep)[0] != scripts:
        os.environ["PATH"] = scripts + os.pathsep + os.environ.get("PATH", "")
    os.environ.setdefault("DVC_NO_ANALYTICS", "1")


def initialise() -> None:
    """A DVC set-up in the current directory where there is none: no git needed, ``--subdir`` below a git root."""
    if Path(".dvc").is_dir():
        return
    options = ["--no-scm"]
    root = git_root()
    if root is not None:
        options = [] if root.resolve() == Path.cwd().resolve() else ["--subdir"]
    environment()
    from dvc.cli import main

    _must(main(["init", "-q", *options]), "dvc init")
    for key, value in (("core.analytics", "false"), ("core.check_update", "false"), ("cache.type", "reflink,hardlink,symlink,copy")):
        _must(main(["config", "-q", key, value]), f"dvc config {key}")


def git_root() -> Path | None:
    """The work tree's root that holds the current directory, if any."""
    root = _git("rev-parse", "--show-toplevel")
    return Path(root) if root else None


def git_revision() -> str | None:
    """The commit of the work tree, with ``-dirty`` where tracked files differ; None without git or a commit."""
    return _git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")


def _git(*arguments: str) -> str | None:
    try:
        found = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return found.stdout.strip() or None if found.returncode == 0 else None


def repro(targets: Sequence[str], *, force_one: bool = False, dry: bool = False, quiet: bool = False, verbose: bool = False) -> int:
    """``dvc repro TARGETS`` in this process; DVC's exit status. force_one: just those stages, up to date or not."""
    environment()
    from dvc.cli import main

    flags = [("--force", force_one), ("--single-item", force_one), ("--dry", dry), ("--quiet", quiet), ("--verbose", verbose)]
    status: int = main(["repro", *(flag for flag, on in flags if on), *targets])
    return status


def _must(status: int, command: str) -> None:
    if status:
        raise OSError(f"'{command}' failed with status {status}")
