"""Two processes that divide the work reach what one does, bit for bit.

The fitted head, and the answers by views.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from cvflow.dataset.prepared import PreparedDataset

RANK = """
import sys
from io import StringIO
from pathlib import Path
import torch
import torch.distributed as dist
from safetensors.torch import save_file
from cvflow.config import Compute, Recipe
from cvflow.dataset.prepared import PreparedDataset
from cvflow.engine.checkpoint import CheckpointStore
from cvflow.engine.evaluate import evaluate
from cvflow.engine.loop import train
from cvflow.engine.views import make_views
from cvflow.registry import Component
from cvflow.runtime.console import Console
from cvflow.runtime.local import LocalSession

root, data, rank, world_size = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
if world_size > 1:
    dist.init_process_group("gloo", init_method=f"file://{root}/meet", rank=rank, world_size=world_size)
store = CheckpointStore(root / "checkpoints")
session = LocalSession(Compute(device="cpu", threads=1), store, None, Console(StringIO()))
session.rank, session.world_size = rank, world_size
recipe = Recipe.model_validate({
    "task": "classification", "data": {"format": "digits"}, "image": {"size": (16, 16), "channels": 1},
    "evaluate": {"batch_size": 16},
    "train": {"kind": {"name": "fit", "c": 0.1}, "sampler": "balanced", "deterministic": True},
})
job = train(recipe, PreparedDataset(data), session)
views = make_views([Component(name="five_crops"), Component(name="horizontal_flip")], recipe.image)
found = evaluate(job, "val", 8, keep_predictions=True, views=views)
answers = torch.tensor([p.values["probabilities"] for p in found.predictions])
save_file({**job.model.state_dict(), "answers": answers}, root / f"rank{rank}.safetensors")
if world_size > 1:
    dist.destroy_process_group()
"""


def found(root: Path, data: Path, world_size: int) -> list[dict[str, torch.Tensor]]:
    """What each rank has at its end."""
    root.mkdir()
    environment = os.environ | {"GLOO_SOCKET_IFNAME": "lo"}
    command = [sys.executable, "-c", RANK, str(root), str(data)]
    ranks = [
        subprocess.Popen([*command, str(rank), str(world_size)], env=environment)
        for rank in range(world_size)
    ]
    try:
        assert [rank.wait(200) for rank in ranks] == [0] * world_size
    finally:
        for rank in ranks:
            rank.kill()
    return [load_file(root / f"rank{rank}.safetensors") for rank in range(world_size)]


@pytest.mark.slow
def test_two_ranks_fit_and_look_as_one(digits: PreparedDataset, tmp_path: Path) -> None:
    (alone,) = found(tmp_path / "one", digits.path, 1)
    assert len(alone["answers"]) == digits.info.counts["val"]
    for rank in found(tmp_path / "two", digits.path, 2):
        assert [name for name in alone if not torch.equal(alone[name], rank[name])] == []
