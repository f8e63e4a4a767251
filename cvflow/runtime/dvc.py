"""DVC: set-up, reproduction in this process, and the digest it gave an output.

The only module that imports dvc.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from cvflow.errors import CvflowError
from cvflow.runtime.interrupts import held_back

LOCK = Path(".dvc/tmp/lock")
NOTE = Path(".dvc/tmp/rwlock")
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
    """A DVC set-up in the current directory where there is none: no git needed, ``--subdir`` below
    a git root.

    A directory that git is told to ignore has no git.
    """
    if Path(".dvc").is_dir():
        return
    options = ["--no-scm"]
    root = None if _git("check-ignore", ".") else git_root()
    if root is not None:
        options = [] if root.resolve() == Path.cwd().resolve() else ["--subdir"]
    if root is not None:
        ignore_by_git()
    environment()
    from dvc.cli import main

    settings = (
        ("core.analytics", "false"),
        ("core.check_update", "false"),
        ("cache.type", "reflink,hardlink,symlink,copy"),
    )
    with held_back():  # half a set-up would be taken for a whole one
        _must(main(["init", "-q", *options]), "dvc init")
        for key, value in settings:
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
    """The commit of the work tree, with ``-dirty`` where tracked files differ; None without git or
    a commit.
    """
    return _git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")


def _git(*arguments: str) -> str | None:
    try:
        changed = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return changed.stdout.strip() or None if changed.returncode == 0 else None


def repro(
    targets: Sequence[str],
    *,
    force_one: bool = False,
    quiet: bool = False,
    verbose: bool = False,
    patience: float = 600.0,
) -> int:
    """``dvc repro TARGETS`` in this process; DVC's exit status. force_one: just those stages, up to
    date or not.

    Where another program holds DVC's lock, or works on the same files, it waits ``patience``
    seconds at most; then CvflowError. Once a stage has run it waits as long as it takes: its result
    is not to be lost.
    """
    environment()
    from dvc.cli import logger, main

    flags = [("--force", force_one), ("--single-item", force_one), ("--quiet", quiet), ("--verbose", verbose)]
    drop_cut_note()
    queue, heard = Queue(patience), Heard()
    logger.addFilter(heard)
    try:
        while True:
            while holder := lock_holder():
                queue.wait_for(f"{holder}, which holds DVC's lock {LOCK}")
            heard.busy = ""
            status: int = main(["--wait-for-lock", "repro", *(flag for flag, on in flags if on), *targets])
            if not heard.busy:
                return status
            queue.wait_for(heard.busy)
    finally:
        logger.removeFilter(heard)


def drop_cut_note() -> None:
    """Remove DVC's note of who works on which files where a kill cut it short: DVC would refuse all
    work from then on.
    """
    if not NOTE.exists():
        return
    with NOTE.with_name("rwlock.lock").open("a") as guard:  # as DVC takes it
        fcntl.flock(guard, fcntl.LOCK_EX)
        try:
            json.loads(NOTE.read_text())
        except ValueError:
            NOTE.unlink()


class Heard(logging.Filter):
    """Keeps DVC's errors from the terminal where they are no news, or may pass. busy: who works on
    the same files.
    """

    def __init__(self) -> None:
        super().__init__()
        self.busy = ""

    def filter(self, record: logging.LogRecord) -> bool:
        from dvc.lock import LockError
        from dvc.stage.exceptions import StageCmdFailedError

        raised = record.exc_info[1] if record.exc_info else None
        error = getattr(raised, "__cause__", None) or raised
        if isinstance(error, LockError):
            holders = re.findall(r"\(PID (\d+)\): (.*)", str(error))
            self.busy = (
                ", ".join(f"process {pid} ({command})" for pid, command in holders)
                or str(error).splitlines()[0]
            )
        return not isinstance(
            error, (LockError, StageCmdFailedError)
        )  # a stage that failed has said itself why


class Queue:
    """Waiting, for so many seconds in all; says once for whom."""

    def __init__(self, patience: float) -> None:
        self.patience, self.until = patience, time.monotonic() + patience
        self.said = ""

    def wait_for(self, whom: str) -> None:
        """A moment. Raises CvflowError where it has been long enough."""
        if time.monotonic() > self.until:
            fix = "Wait for it, or end it; then type the same command."
            raise CvflowError(f"Waited {self.patience / 60:.0f} minutes for {whom}. {fix}")
        if whom != self.said:
            sys.stderr.write(f"waiting for {whom}\n")
            self.said = whom
        time.sleep(1)


def lock_holder() -> str:
    """Who holds DVC's lock of this project: ``process 12 (dvc add)``, or '' where nobody does."""
    if not LOCK.exists():
        return ""
    with LOCK.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _process(file.read().strip())
    return ""


def _process(pid: str) -> str:
    import psutil

    try:
        command = " ".join(" ".join(psutil.Process(int(pid)).cmdline()).split())
        return f"process {pid} ({command if len(command) <= 80 else command[:77] + '...'})"
    except (ValueError, psutil.Error):
        return "another process"


def running_stages() -> list[int]:
    """The pids of the stages that DVC has started from this process and that still run; not of what
    they started.
    """
    import psutil

    changed = {}
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            words = child.cmdline()
            if "stage" in words and any(Path(word).name == "cvflow" for word in words):
                changed[child.pid] = child.ppid()
    return [
        pid for pid, parent in changed.items() if parent not in changed
    ]  # a forked loader process has its parent's words


def changed_files(stages: Sequence[str]) -> dict[str, list[str]]:
    """For each stage that differs from dvc.lock: the changed files it reads or wrote.

    Parameters are not looked at.
    """
    from dvc.repo import Repo

    with Repo() as repo:
        status = repo.status(targets=list(stages))
    changed = {
        stage: [str(item) for item in items if isinstance(item, str)] for stage, items in status.items()
    }
    for stage, items in status.items():
        kinds = [files for item in items if isinstance(item, dict) for files in item.values()]
        changed[stage] += [
            f"{file} {how}" for files in kinds for file, how in files.items() if isinstance(how, str)
        ]
    return changed


@contextmanager
def changed_yaml(path: Path, aside: Path) -> Iterator[Any]:
    """A YAML file as data to change, comments and order kept; written to ``aside`` and renamed.

    An absent file is empty.
    """
    from dvc.utils.serialize import dumps_yaml, parse_yaml_for_update

    data = parse_yaml_for_update(path.read_text() if path.exists() else "", str(path))
    yield data
    aside.write_text(dumps_yaml(data))
    aside.replace(path)


def _must(status: int, command: str) -> None:
    if status:
        raise OSError(f"'{command}' failed with status {status}")
