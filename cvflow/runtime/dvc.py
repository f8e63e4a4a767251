"""DVC: set-up, reproduction in this process, and the digest it gave an output. The only module that imports dvc."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

INTERRUPTED = 252
"""DVC's exit status after Ctrl-C between its stages."""


UNVERSIONED = ("/.cvflow/", "/mlflow.db*", "/mlartifacts/")


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
    if root is not None:
        ignore_by_git()
    environment()
    from dvc.cli import main

    _must(main(["init", "-q", *options]), "dvc init")
    for key, value in (("core.analytics", "false"), ("core.check_update", "false"), ("cache.type", "reflink,hardlink,symlink,copy")):
        _must(main(["config", "-q", key, value]), f"dvc config {key}")


def ignore_by_git() -> None:
    """Keep state and stores out of git; DVC does so for its outputs."""
    path = Path(".gitignore")
    text = path.read_text() if path.exists() else ""
    new = [line for line in UNVERSIONED if line not in text.splitlines()]
    path.write_text(text + "".join(f"{line}\n" for line in new))


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


def repro(targets: Sequence[str], *, force_one: bool = False, quiet: bool = False, verbose: bool = False) -> int:
    """``dvc repro TARGETS`` in this process; DVC's exit status. force_one: just those stages, up to date or not."""
    environment()
    from dvc.cli import logger, main

    logger.addFilter(_unless_a_stage_said_it)
    flags = [("--force", force_one), ("--single-item", force_one), ("--quiet", quiet), ("--verbose", verbose)]
    status: int = main(["repro", *(flag for flag, on in flags if on), *targets])
    return status


def _unless_a_stage_said_it(record: logging.LogRecord) -> bool:
    """Whether DVC's line is news: a stage that failed has said itself why."""
    from dvc.stage.exceptions import StageCmdFailedError

    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(getattr(error, "__cause__", None), StageCmdFailedError)


def running_stages() -> list[int]:
    """The pids of the stages that DVC has started from this process and that still run; not of what they started."""
    import psutil

    found = {}
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            words = child.cmdline()
            if "stage" in words and any(Path(word).name == "cvflow" for word in words):
                found[child.pid] = child.ppid()
    return [pid for pid, parent in found.items() if parent not in found]  # a forked loader process has its parent's words


def changed_files(stages: Sequence[str]) -> dict[str, list[str]]:
    """For each stage that differs from dvc.lock: the changed files it reads or wrote. Parameters are not looked at."""
    from dvc.repo import Repo

    with Repo() as repo:
        status = repo.status(targets=list(stages))
    found = {stage: [str(item) for item in items if isinstance(item, str)] for stage, items in status.items()}
    for stage, items in status.items():
        kinds = [files for item in items if isinstance(item, dict) for files in item.values()]
        found[stage] += [f"{file} {how}" for files in kinds for file, how in files.items() if isinstance(how, str)]
    return found


@contextmanager
def changed_yaml(path: Path, aside: Path) -> Iterator[Any]:
    """A YAML file as data to change, comments and order kept; written to ``aside`` and renamed. An absent file is empty."""
    from dvc.utils.serialize import dumps_yaml, parse_yaml_for_update

    data = parse_yaml_for_update(path.read_text() if path.exists() else "", str(path))
    yield data
    aside.write_text(dumps_yaml(data))
    aside.replace(path)


def _must(status: int, command: str) -> None:
    if status:
        raise OSError(f"'{command}' failed with status {status}")
