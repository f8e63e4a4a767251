"""Errors that say what was got, what was expected, where, and what to type."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """One thing wrong with what the user gave.

    where: file, field and line, as in ``digits.yaml:7 train.epochs``.
    """

    where: str
    got: str
    expected: str
    fix: str = ""

    def __str__(self) -> str:
        line = f"{self.where}: got {self.got}, expected {self.expected}"
        return f"{line}. {self.fix}" if self.fix else f"{line}."


class CvflowError(Exception):
    """The work failed (exit code 1)."""

    exit_code = 1


class RequestError(CvflowError):
    """The request was wrong (exit code 2); carries every fault that was found."""

    exit_code = 2

    def __init__(self, *faults: Fault) -> None:
        self.faults = faults
        super().__init__("\n".join(map(str, faults)))

    def __reduce__(self) -> tuple[type[RequestError], tuple[Fault, ...]]:
        return type(self), self.faults  # crosses process borders whole


class InterruptedRunError(CvflowError):
    """Stopped by the user (exit code 130); what was finished is kept."""

    exit_code = 130


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint naming the closest known word, or the empty string."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"Did you mean '{close[0]}'?" if close else ""


def one_of(names: Iterable[str], most: int = 12) -> str:
    """``one of a, b, c``: what was expected, shortened when there are many."""
    listed = sorted(names)
    more = f", ... ({len(listed)} in all)" if len(listed) > most else ""
    return "one of " + ", ".join(listed[:most]) + more
