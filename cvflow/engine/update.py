"""One optimiser step from a batch: precision, accumulation, clipping, second-order closures."""

from __future__ import annotations

import os
import shutil
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn, optim
from torch.nn.parallel import DistributedDataParallel

from cvflow.engine.closures import closure_faults
from cvflow.engine.distributed import least, summing
from cvflow.engine.job import Job
from cvflow.engine.meter import Clock
from cvflow.engine.step import Step, counted, nonzero, reduce
from cvflow.errors import Fault, RequestError
from cvflow.loading.loader import seed_of
from cvflow.loading.prefetch import drawing
from cvflow.types import Batch, Loss

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Update:
    """The model and task of a job under an optimiser. names: of the losses, in the order of their means."""

    def __init__(self, job: Job, optimizer: optim.Optimizer, clock: Clock) -> None:
        self.train, self.device, self.world_size = (
            job.recipe.train,
            job.session.device,
            job.session.world_size,
        )
        self.optimizer, self.clock = optimizer, clock
        self.parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self.needs_closure = getattr(optimizer, "needs_closure", False)
        if self.needs_closure and (faults := closure_faults(self.train)):
            raise RequestError(*faults)
        if self.train.compile:
            check_compiler()
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.train.precision == "fp16")
        step = Step(job.model, job.task)
        self.wrapped = DistributedDataParallel(step, broadcast_buffers=False) if self.world_size > 1 else step
        self.forward: nn.Module = self.wrapped
        if self.train.compile:
            self.forward = torch.compile(self.wrapped)  # type: ignore[assignment]
        self.names: tuple[str, ...] = ()

    def __call__(self, batch: Batch, seed: int) -> tuple[Tensor, bool]:
        """(mean of each loss over all ranks, whether the step was taken). seed: of dropout.

        The step is left out where ``not_finite: skip`` and a loss or gradient is not finite.
        """
        parts = self._parts(batch)
        means = torch.empty(0)

        def closure() -> Tensor:
            nonlocal means
            self.optimizer.zero_grad(set_to_none=True)
            means = self._backward(parts, seed)
            return means.sum()

        if self.needs_closure:
            self.optimizer.step(closure)  # type: ignore[arg-type]
            self.clock.lap("optimizer")
            return means, True
        closure()
        taken = self._apply(means)
        self.clock.lap("optimizer")
        return means, taken

    def _parts(self, batch: Batch) -> list[Batch]:
        """As many on every rank, though one may have a sample more: losses that compare all ranks'
        samples wait for each part.
        """
        num_parts = self.train.accumulate
        return batch.parts(least(min(num_parts, len(batch)))) if num_parts > 1 else [batch]

    def _backward(self, parts: list[Batch], seed: int) -> Tensor:
        """Gradients of the whole batch; the global mean of each loss."""
        tables: list[Tensor] = []
        for number, part in enumerate(parts):
            last = number + 1 == len(parts)
            with self._unsynchronised(not last):
                losses = self._losses(part, part_seed(seed, number))
                self.names = tuple(losses)
                sums, table = counted(losses)
                tables.append(table)
                if number == 0:
                    weights, totals = self._weights(table, parts, seed)
                if last and totals is None:
                    summed = summing(torch.stack(tables).sum(0))
                self.clock.lap("forward")
                self.scaler.scale((sums * weights).sum()).backward()  # type: ignore[no-untyped-call]
                self.clock.lap("backward")
        if totals is None:
            totals = summed()
            self._rescale((self.world_size / nonzero(totals[1])) / weights)
        return totals[0] / nonzero(totals[1])

    def _weights(self, first: Tensor, parts: list[Batch], seed: int) -> tuple[Tensor, Tensor | None]:
        """(factor of each loss in the backward pass, the whole batch's table where that was waited for).

        One loss may be divided by its count when all gradients are there: until then ranks need not
        wait for each other. In fp16 its sum could overflow, so it is weighed as if all parts had
        the first one's count.
        """
        if len(self.names) == 1 and not self.scaler.is_enabled() and self.world_size * len(parts) > 1:
            return torch.full_like(first[1], self.world_size), None
        seen = [first, *self._ahead(parts, seed)]
        totals = reduce(torch.stack(seen).sum(0))
        return self.world_size * len(seen) / (nonzero(totals[1]) * len(parts)), totals if len(seen) == len(
            parts
        ) else None

    @torch.no_grad()
    def _ahead(self, parts: list[Batch], seed: int) -> list[Tensor]:
        """Sums and counts of all parts but the first, whose losses are known, where the losses may
        count differently.

        Several cannot be mended by one factor afterwards. Batch norm's running averages stay as the
        first part left them.
        """
        if len(self.names) == 1 or len(parts) == 1:
            return []
        before_buffers = [(buffer, buffer.clone()) for buffer in self.wrapped.buffers()]
        tables = [
            counted(self._losses(part, part_seed(seed, number)))[1]
            for number, part in enumerate(parts)
            if number
        ]
        for buffer, before in before_buffers:
            buffer.data.copy_(
                before
            )  # through .data: the first part's graph would take it for a change of what it needs
        return tables

    def _losses(self, part: Batch, seed: int) -> dict[str, Loss]:
        with (
            drawing(),
            torch.autocast(
                self.device.type, DTYPES[self.train.precision], enabled=self.train.precision != "fp32"
            ),
        ):
            seed_all(seed, self.device)
            losses: dict[str, Loss] = self.forward(part)
        return losses

    def _rescale(self, ratio: Tensor) -> None:
        """ratio: 1, of the one loss."""
        torch._foreach_mul_([p.grad for p in self.parameters if p.grad is not None], ratio.sum())

    def _unsynchronised(self, active: bool) -> AbstractContextManager[None]:
        """DDP sums gradients over ranks with the last part only."""
        return (
            self.wrapped.no_sync()
            if active and isinstance(self.wrapped, DistributedDataParallel)
            else nullcontext()
        )

    def _apply(self, means: Tensor) -> bool:
        """Clip and step; False where it is skipped."""
        watched = self.train.not_finite == "skip"
        if self.train.clip_norm is not None or watched:
            self.scaler.unscale_(self.optimizer)
            norm = nn.utils.clip_grad_norm_(self.parameters, self.train.clip_norm or float("inf"))
            # scaled gradients overflow now and then: the scaler leaves such a step out itself
            seen = means if self.scaler.is_enabled() else torch.cat([means, norm[None]])
            if watched and not bool(seen.isfinite().all()):
                self.scaler.update()
                return False
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return True


def check_compiler() -> None:
    """Raise RequestError where torch.compile would find no C++ compiler; it looks at CXX, g++ and
    clang++ on the PATH.
    """
    if not any(map(shutil.which, (os.environ.get("CXX") or "g++", "g++", "clang++"))):
        fix = "Install one (g++, say), or type train.compile=false."
        raise RequestError(
            Fault("train.compile", "true, without a C++ compiler on the PATH", "a C++ compiler", fix)
        )


def part_seed(seed: int, number: int) -> int:
    """Of dropout in a part of a step."""
    return seed_of(seed, number) if number else seed


def seed_all(seed: int, device: torch.device) -> None:
    """Seed what dropout draws from; not torch.manual_seed, which queues a call for GPUs never used."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
