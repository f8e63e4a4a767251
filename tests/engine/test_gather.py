"""Losses over the whole batch: two ranks take the step that one takes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

RANK = """
import sys
from pathlib import Path
import torch
import torch.distributed as dist
from safetensors.torch import save_file
from torch.nn.parallel import DistributedDataParallel
from cvflow.config import Compute, Recipe
from cvflow.engine.checkpoint import CheckpointStore
from cvflow.engine.distributed import least
from cvflow.engine.job import Job
from cvflow.engine.meter import Clock
from cvflow.engine.step import Step, counted, reduce
from cvflow.engine.update import Update
from cvflow.ops.gather import over_ranks
from cvflow.registry import Component
from cvflow.runtime.console import Console
from cvflow.runtime.local import LocalSession
from cvflow.tasks.embedding import Embedding
from cvflow.types import Batch

root, rank, world_size = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
if world_size > 1:
    dist.init_process_group("gloo", init_method=f"file://{root}/meet", rank=rank, world_size=world_size)
found = {}
hard, semi_hard = ({"name": "triplet", "mining": mining} for mining in ("hard", "semi_hard"))
for loss in (hard, semi_hard, {"name": "contrastive"}):
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 5, bias=False, dtype=torch.float64))
    step = Step(net, Embedding(loss=Component(**loss)))
    wrapped = DistributedDataParallel(step) if world_size > 1 else step
    images = torch.randn(11, 3, 2, 2, dtype=torch.float64)
    identity = torch.tensor([0, 0, 0, 1, 1, 1, 2, 2, 3, 3, 3])
    own = slice(rank, None, world_size)
    batch = Batch([""] * len(identity[own]), {"image": images[own]}, {"identity": identity[own]})
    sums, table = counted(wrapped(batch))
    whole = reduce(table)
    (sums * (world_size / whole[1])).sum().backward()
    name = "-".join(loss.values())
    found |= {f"{name} {key}": p.grad for key, p in net.named_parameters()}
    found[f"{name} loss"] = whole[0] / whole[1]
values, first = over_ranks(torch.arange(2.0 + rank)[:, None] + 10 * rank)
found |= {"values": values, "first": torch.tensor(first)}
found["least"] = torch.tensor(least(7 - 2 * rank))
store = CheckpointStore(root / "checkpoints")
session = LocalSession(Compute(device="cpu", threads=1), store, None, Console())
session.rank, session.world_size = rank, world_size
written = {"task": "embedding", "data": {"format": "digits"}, "train": {"accumulate": 3}}
recipe = Recipe.model_validate(written)
job = Job(recipe, Embedding(loss=Component(name="contrastive")), None, net.float(), session)
update = Update(job, torch.optim.SGD(net.parameters(), lr=0.1), Clock(session.device))
own = slice(rank, 5, world_size)
batch = Batch([""] * len(identity[own]), {"image": images[own].float()}, {"identity": identity[own]})
before = net[1].weight.detach().clone()
update(batch, seed=0)
found["moved"] = net[1].weight.detach() - before
save_file(found, root / f"rank{rank}.safetensors")
if world_size > 1:
    dist.destroy_process_group()
"""


def ranks(root: Path, world_size: int) -> list[dict[str, torch.Tensor]]:
    """What each rank has found: gradients and losses of 11 samples that are divided unevenly."""
    root.mkdir()
    environment = os.environ | {"GLOO_SOCKET_IFNAME": "lo"}
    command = [sys.executable, "-c", RANK, str(root)]
    started = [
        subprocess.Popen([*command, str(rank), str(world_size)], env=environment)
        for rank in range(world_size)
    ]
    try:
        assert [rank.wait(200) for rank in started] == [0] * world_size
    finally:
        for rank in started:
            rank.kill()
    return [load_file(root / f"rank{rank}.safetensors") for rank in range(world_size)]


def test_two_ranks_take_the_step_of_one(tmp_path: Path) -> None:
    (alone,) = ranks(tmp_path / "one", 1)
    both = ranks(tmp_path / "two", 2)
    for name in (name for name in alone if name not in ("values", "first", "least", "moved")):
        assert alone[name].abs().max() > 1e-3
        for rank in both:
            assert torch.allclose(rank[name], alone[name], rtol=1e-4, atol=1e-6), name
    assert alone["values"].tolist() == [[0], [1]]
    for rank, first in zip(both, (0, 2), strict=True):
        assert rank["values"].tolist() == [[0], [1], [10], [11], [12]]
        assert rank["first"] == first
    # 5 samples in 3 parts, where one rank has 3 of them and the other 2
    assert [int(rank["least"]) for rank in both] == [5, 5]
    assert torch.equal(both[0]["moved"], both[1]["moved"])
    assert both[0]["moved"].abs().max() > 1e-4
