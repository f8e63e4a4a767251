"""A step in parts, of two losses that count differently: two ranks take the undivided step of one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

RANK = """
import sys
from pathlib import Path
import torch
import torch.distributed as dist
from safetensors.torch import save_file
from cvflow.config import Compute, Recipe
from cvflow.engine.checkpoint import CheckpointStore
from cvflow.engine.job import Job
from cvflow.engine.meter import Clock
from cvflow.engine.update import Update
from cvflow.runtime.console import Console
from cvflow.runtime.local import LocalSession
from cvflow.types import Batch, Loss


class TwoLosses:
    def outputs(self, model, batch):
        return model(batch.images["x"])

    def losses(self, answers, batch):
        boxed = batch.targets["boxed"]
        placed = answers[:, 1] * boxed
        class_loss = Loss(answers[:, 0].sum(), torch.tensor(len(batch)))
        return {"class_loss": class_loss, "box_loss": Loss(placed.sum(), boxed.sum())}


root, rank, world_size, parts = Path(sys.argv[1]), *map(int, sys.argv[2:])
if world_size > 1:
    dist.init_process_group("gloo", init_method=f"file://{root}/meet", rank=rank, world_size=world_size)
store = CheckpointStore(root / "checkpoints")
session = LocalSession(Compute(device="cpu", threads=1), store, None, Console())
session.rank, session.world_size = rank, world_size
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.Tanh(), torch.nn.Linear(5, 2))
images, boxed = torch.randn(8, 3), torch.tensor([0.0, 1, 0, 0, 0, 1, 1, 1])
before = {key: p.detach().clone() for key, p in model.named_parameters()}
written = {"task": "localization", "data": {"format": "digits"}, "train": {"accumulate": parts}}
job = Job(Recipe.model_validate(written), TwoLosses(), None, model, session)
update = Update(job, torch.optim.SGD(model.parameters(), lr=1.0), Clock(session.device))
own = slice(rank, None, world_size)
means, _ = update(Batch([""] * len(boxed[own]), {"x": images[own]}, {"boxed": boxed[own]}), seed=0)
steps = {key: p.detach() - before[key] for key, p in model.named_parameters()}
save_file({"means": means} | steps, root / f"rank{rank}.safetensors")
if world_size > 1:
    dist.destroy_process_group()
"""


def moved(root: Path, world_size: int, parts: int) -> list[dict[str, torch.Tensor]]:
    """By how much each rank's parameters moved, and the means of the losses."""
    root.mkdir()
    environment = os.environ | {"GLOO_SOCKET_IFNAME": "lo"}
    command = [sys.executable, "-c", RANK, str(root)]
    ranks = [
        subprocess.Popen([*command, str(rank), str(world_size), str(parts)], env=environment)
        for rank in range(world_size)
    ]
    try:
        assert [rank.wait(100) for rank in ranks] == [0] * world_size
    finally:
        for rank in ranks:
            rank.kill()
    return [load_file(root / f"rank{rank}.safetensors") for rank in range(world_size)]


@pytest.mark.slow
def test_two_ranks_take_the_undivided_step_in_parts(tmp_path: Path) -> None:
    (alone,) = moved(tmp_path / "one", 1, 1)
    for rank in moved(tmp_path / "two", 2, 3):
        torch.testing.assert_close(rank, alone, atol=1e-6, rtol=1e-5)
