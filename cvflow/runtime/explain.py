"""What the machine does to a run, said so that a user knows what to type. Importing this costs nothing."""

from __future__ import annotations

import errno
import traceback

from cvflow.errors import CvflowError

LESS_MEMORY = (
    "More compute.workers divide each batch and go on from the last checkpoint; "
    "train.accumulate=2 or a smaller train.batch_size (evaluate.batch_size, predict.batch_size) begin anew."
)
NO_MEMORY = ("can't allocate memory", "CUDA out of memory", "Cannot allocate memory")
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class OthersGoneError(Exception):
    """A rank failed only because another was lost or does not answer; it may do better with a new one."""

    def __init__(self, text: str, rank: int, world_size: int) -> None:
        super().__init__(text, rank, world_size)
        self.text, self.rank, self.world_size = text, rank, world_size

    @property
    def waited(self) -> bool:
        """Whether it waited until the time limit, the others being connected still."""
        return "imed out" in self.text


def explained(error: Exception, who: str = "") -> CvflowError | None:
    """An error of the machine as one that says what to do; None where it is of another kind. who:
    as in ``rank 1: ``.
    """
    text = str(error)
    first = text.strip().splitlines()[0][:300] if text.strip() else type(error).__name__
    if {"MemoryError", "OutOfMemoryError"} & _kinds(error) or any(words in text for words in NO_MEMORY):
        return CvflowError(f"{who}out of memory ({first}). {LESS_MEMORY}")
    if isinstance(error, OSError) and (error.errno in NO_ROOM or "No space left" in text):
        return CvflowError(
            f"{who}no room left on the disk ({first}). 'df -h' says "
            "where; make room, then type the same command."
        )
    if "DataLoader timed out" in text:
        return CvflowError(
            f"{who}a loader process does not answer ({first}). Is the "
            "disk with the data there? The same command goes on."
        )
    if "DataLoader worker" in text and ("killed" in text or "exited unexpectedly" in text):
        fix = (
            "Type fewer compute.loader_workers, or "
            "compute.loader_workers=0 to see what it does; the same command goes on."
        )
        return CvflowError(
            f"{who}a loader process was killed, as the kernel does where memory ends ({first}). {fix}"
        )
    return None


def of_a_rank(error: Exception, rank: int, world_size: int) -> Exception:
    """What the code of a rank has raised: an OthersGoneError, or one of ours, since it would only
    raise it again.
    """
    text = str(error)
    if {"DistError", "RayError"} & _kinds(error) or "gloo" in text or "NCCL" in text:
        return OthersGoneError(text, rank, world_size)
    return explained(error, f"rank {rank}: ") or CvflowError(
        f"rank {rank} failed\n{''.join(traceback.format_exception(error)).rstrip()}"
    )


def _kinds(error: Exception) -> set[str]:
    """The names of the error's classes: torch is not imported to ask."""
    return {kind.__name__ for kind in type(error).__mro__}
