"""A place to write to, tried before the work that fills it."""

from __future__ import annotations

import tempfile
from pathlib import Path

from cvflow.errors import Fault, RequestError


def check_file(out: Path) -> None:
    """RequestError where no file can be written at ``out``.

    Folders that are missing on the way to it can be made.
    """
    if out.is_dir():
        raise RequestError(
            Fault("--out", f"'{out}', a folder", "a file to write", f"Type --out {out / 'NAME'}.")
        )
    check_folder(out.absolute().parent, out)


def check_folder(folder: Path, out: Path | None = None) -> None:
    """RequestError where no folder can be made at ``folder``, or nothing written in it. out: what
    the user typed, where it is a file.
    """
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    # asked by trying: permissions alone do not tell, of root least
    except OSError as error:
        got = f"'{out or folder}', and in {existing} nothing can be written ({error.strerror})"
        raise RequestError(Fault("--out", got, "a place that can be written to")) from error
