"""Files of the user's, read as a whole.

One that cannot be opened is a fault of the machine, not of the image: it may well be readable tomorrow.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from cvflow.errors import CvflowError


def contents(path: Path) -> bytes:
    """Return the bytes of a file. Raises CvflowError if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise CvflowError(f"{path}: {error.strerror}") from error


def file_digest(path: Path) -> str:
    """Return the md5 of a file, hexadecimal. Raises CvflowError if it cannot be read."""
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False))
    except OSError as error:
        raise CvflowError(f"{path}: {error.strerror}") from error
    return digest.hexdigest()
