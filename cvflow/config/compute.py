"""The section of a recipe about where the work runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import (
    Field,
    NonNegativeInt,
    PositiveInt,
    ValidationError,
    ValidatorFunctionWrapHandler,
    field_validator,
)

from cvflow.section import Section


class Compute(Section):
    """Where it runs. In no fingerprint: the same training on other workers is the same training."""

    workers: NonNegativeInt | tuple[PositiveInt, PositiveInt] = Field(
        0,
        description="0: this process. n: n Ray workers. [min, max]: as many as "
        "the cluster has room for, which may change in mid-run.",
    )
    address: str | None = Field(
        None, description="Ray cluster to join: auto or host:port; none = a local Ray for the run."
    )
    storage: Path | None = Field(
        None, description="Folder for checkpoints that every node reaches; .cvflow by default."
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: cuda where there is one.")
    threads: int | None = Field(
        None, gt=0, description="Torch threads a worker; the cores divided by the workers by default."
    )
    loader_workers: int = Field(
        0, ge=0, description="Data-loading processes a worker; 0 = a thread of the training process."
    )
    checkpoint_minutes: float = Field(
        10.0, gt=0, description="Longest time between two checkpoints; there is one after each epoch."
    )
    hang_minutes: float = Field(
        30.0,
        gt=0,
        description="Ray workers that wait so long for one that does not "
        "answer are started again, from the last checkpoint.",
    )

    @property
    def least(self) -> int:
        """The fewest workers to begin with; 0 = this process."""
        return self.workers[0] if isinstance(self.workers, tuple) else self.workers

    @property
    def most(self) -> int:
        """The most workers there may be; 0 = this process."""
        return self.workers[1] if isinstance(self.workers, tuple) else self.workers

    @field_validator("workers", mode="wrap")
    @classmethod
    def _one_or_two_counts(cls, value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        """One error for what is neither: the union's own are two."""
        try:
            workers = handler(value)
        except ValidationError:
            workers = (1, 0)
        if isinstance(workers, tuple) and workers[0] > workers[1]:
            raise ValueError("a count, or [min, max] of two counts, the lesser first")
        return workers
