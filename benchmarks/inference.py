"""Batch inference against a tuned bare loop: CIFAR ResNet-20 over generated 32-pixel PNG files in
one Parquet file.

Both sides: the same decoding, batch, threads, malloc and model, from the call to the written
Parquet of answers. The bare loop is a torch DataLoader with the best of 0, 1 and 2 workers; it runs
the model as it is, `cvflow predict` folds its BatchNorms. On Ray (two actors) the time to the first
answers is given apart.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

sys.path.insert(0, str(Path(__file__).parent))
from measure import in_pairs, table, write_results

from cvflow.annotations.image import decode, encode_png
from cvflow.config import Compute, Recipe
from cvflow.dataset.row_sources.parquet import ParquetSource
from cvflow.engine.export import read_model, write_model
from cvflow.engine.job import make_task
from cvflow.runtime.cores import compute_on
from cvflow.stages.predict import predict_path
from cvflow.types import DatasetInfo

BATCH = 256
BAR, RAY_BAR = 1.0, 0.9


def make_model(folder: Path) -> Path:
    """ResNet-20 as initialised: its speed is that of a trained one."""
    sections = {
        "task": "classification",
        "data": {"format": "digits"},
        "image": {"size": (32, 32), "channels": 3},
    }
    recipe = Recipe.model_validate({**sections, "model": {"name": "classifier", "backbone": "cifar_resnet"}})
    info = DatasetInfo("classification", tuple("abcdefghij"), {"train": 1}, (0.5,) * 3, (0.25,) * 3, "")
    model = make_task(recipe, info).build(recipe, info)
    write_model(
        folder,
        model.state_dict(),
        recipe.model_dump(mode="json", by_alias=True),
        info,
        "f" * 32,
        "d" * 32 + ".dir",
    )
    return folder


def make_images(file: Path, count: int) -> Path:
    """Smooth random pictures, as photographs are to a PNG decoder; ids are numbers."""
    random = np.random.default_rng(0)
    schema = pa.schema({"id": pa.string(), "image": pa.binary()})
    with pq.ParquetWriter(file, schema, compression="none") as writer:
        for first in range(0, count, 1000):
            coarse = random.integers(0, 256, (min(1000, count - first), 8, 8, 3), dtype=np.uint8)
            pixels = coarse.repeat(4, 1).repeat(4, 2) ^ random.integers(
                0, 8, (len(coarse), 32, 32, 3), dtype=np.uint8
            )
            rows = {
                "id": [str(first + i) for i in range(len(pixels))],
                "image": [encode_png(one) for one in pixels],
            }
            writer.write_table(pa.table(rows, schema=schema))
    return file


class Pictures(Dataset[Tensor]):
    """What a bare loop would read from."""

    def __init__(self, file: Path, count: int) -> None:
        self.column = pq.read_table(file, columns=["image"])["image"][:count]

    def __len__(self) -> int:
        return len(self.column)

    def __getitem__(self, index: int) -> Tensor:
        return torch.from_numpy(decode(self.column[index].as_py())).permute(2, 0, 1)


def bare(model: Path, file: Path, out: Path, count: int, workers: int) -> float:
    """Images a second of the plain loop."""
    start = time.perf_counter()
    trained = read_model(model)
    parts = []
    with torch.inference_mode():
        for images in DataLoader(Pictures(file, count), batch_size=BATCH, num_workers=workers):
            parts.append(trained.model(images).softmax(1))
        probabilities = torch.cat(parts)
    classes = [trained.info.classes[i] for i in probabilities.argmax(1).tolist()]
    ids = pq.read_table(file, columns=["id"])["id"][:count]
    pq.write_table(pa.table({"id": ids, "class": classes, "probabilities": list(probabilities.numpy())}), out)
    return count / (time.perf_counter() - start)


def here(model: Path, file: Path, out: Path, count: int, threads: int) -> float:
    """Images a second of ``cvflow predict`` in this process."""
    start = time.perf_counter()
    written = predict_path(model, "resnet20/1", file, out, Compute(device="cpu", threads=threads), BATCH)
    assert (written.rows, written.faults) == (count, 0)
    return count / (time.perf_counter() - start)


def on_ray(model: Path, file: Path) -> tuple[float, float]:
    """(seconds to the first answers, images a second) of two actors with a thread each.

    The speed is that between a tenth and nine tenths of the answers: as much is under way at the
    one as at the other.
    """
    from cvflow.runtime.ray_data import predict

    source, start = ParquetSource(file, ("image",)), time.perf_counter()
    seen, marks = 0, []
    for part in predict(source, model, Compute(workers=2, device="cpu", threads=1), BATCH):
        seen += len(part)
        marks.append((time.perf_counter() - start, seen))
    middle = [mark for mark in marks if len(source) / 10 <= mark[1] <= len(source) * 9 / 10]
    (early, few), (late, many) = middle[0], middle[-1]
    return marks[0][0], (many - few) / (late - early)


def main() -> int:
    """Print the tables; 1 where a median ratio is below its bar."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--images", type=int, default=20_000)
    arguments.add_argument("--pairs", type=int, default=5)
    arguments.add_argument("--threads", type=int, default=2)
    asked = arguments.parse_args()
    compute_on(asked.threads)
    with tempfile.TemporaryDirectory() as folder:
        return run(Path(folder), asked.images, asked.pairs, asked.threads)


def run(folder: Path, count: int, pairs: int, threads: int) -> int:
    model, file, out = (
        make_model(folder / "model"),
        make_images(folder / "images.parquet", count),
        folder / "bare.parquet",
    )
    few = min(count, 4000)
    speeds = {workers: bare(model, file, out, few, workers) for workers in (0, 1, 2)}
    best = max(speeds, key=lambda workers: speeds[workers])
    theirs: Callable[[], float] = lambda: bare(model, file, out, count, best)  # noqa: E731
    here(model, make_images(folder / "few.parquet", 500), folder / "warm", 500, threads)
    local = in_pairs(lambda: here(model, file, folder / "ours", count, threads), theirs, pairs)
    starts: list[float] = []

    def ray_side() -> float:
        start, speed = on_ray(model, file)
        starts.append(start)
        return speed

    spread = in_pairs(ray_side, theirs, pairs)
    columns = ["pair", "cvflow, images/s", "bare loop, images/s", "ratio"]
    write_results(
        "inference",
        f"Batch inference: ResNet-20, {count:,} PNG images of 32 pixels",
        f"The bare loop by DataLoader workers, on {few:,}: "
        + ", ".join(f"{workers}: {speed:,.0f} images/s" for workers, speed in speeds.items())
        + f". Taken: {best}. Batch {BATCH}, {threads} torch threads, "
        "inference_mode; cvflow folds the BatchNorms, the bare loop does not.",
        f"## In this process: {local}, at least {BAR}\n\n" + table(columns, local.rows()),
        f"## Ray Data, two actors of a thread: {spread}, at least {RAY_BAR}\n\n"
        "Seconds to the first answers, not in the ratio: "
        f"{', '.join(f'{s:.1f}' for s in starts)} (the first starts Ray).\n\n"
        + table(columns, spread.rows()),
    )
    return int(local.ratio < BAR or spread.ratio < RAY_BAR)


if __name__ == "__main__":
    sys.exit(main())
