"""prepare on generated JPEG files: speed against Pillow's decoding alone in as many processes as
cores, cores used, peak memory.

python benchmarks/prepare.py [--images 100000] [--pairs 5] [--side 64] [--data FOLDER]
"""

from __future__ import annotations

import argparse
import io
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from measure import in_pairs, table, write_results
from PIL import Image

CORES = len(os.sched_getaffinity(0))
CLASSES = 10
LESS = 10
"""The small set is so many times smaller."""
BAR = 1.2
"""Of the peak at the large set to that at the small one."""


def generate(folder: Path, side: int, numbers: range) -> None:
    """Varied JPEG files, made from their numbers: coarse noise enlarged, with some fine noise on it."""
    for i in numbers:
        draw = np.random.default_rng(i)
        coarse = Image.fromarray(draw.integers(0, 256, (side // 8, side // 8, 3), dtype=np.uint8))
        fine = draw.integers(-12, 13, (side, side, 3))
        pixels = np.clip(
            np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC)) + fine, 0, 255
        ).astype(np.uint8)
        out = io.BytesIO()
        Image.fromarray(pixels).save(out, "JPEG", quality=85)
        target = folder / f"class{i % CLASSES}"
        target.mkdir(parents=True, exist_ok=True)
        (target / f"{i:06d}.jpg").write_bytes(out.getvalue())


def in_processes(work: partial[None], count: int) -> None:
    """``work`` of the numbers below count, shared out."""
    step = max(1, count // (16 * CORES))
    with ProcessPoolExecutor(CORES, mp_context=get_context("spawn")) as pool:
        list(pool.map(work, [range(i, min(i + step, count)) for i in range(0, count, step)]))


def decode_alone(files: list[str]) -> None:
    """What any preparation must do at least: read the file, decode it."""
    for file in files:
        with open(file, "rb") as opened:
            Image.open(io.BytesIO(opened.read())).convert("RGB").load()


def pillow(source: Path) -> float:
    """Images/s of decoding alone, the start of the processes not counted."""
    files = sorted(str(path) for path in source.rglob("*.jpg"))
    shares = [files[i : i + 256] for i in range(0, len(files), 256)]
    with ProcessPoolExecutor(CORES, mp_context=get_context("spawn")) as pool:
        list(pool.map(decode_alone, [files[:8]] * CORES))
        start = time.perf_counter()
        list(pool.map(decode_alone, shares))
        return len(files) / (time.perf_counter() - start)


def prepared(source: Path, out: Path) -> dict[str, float]:
    """prepare in a process of its own: images, seconds, CPU seconds, peak memory before, of it, and
    of its workers in MB.
    """
    said = subprocess.run(
        [sys.executable, __file__, "--child", str(source), str(out)],
        check=True,
        capture_output=True,
        text=True,
    )
    answer: dict[str, float] = json.loads(said.stdout.splitlines()[-1])
    return answer


def peak_mb(process: int) -> float:
    """Its greatest resident memory so far; 0 where it is gone."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0.0
    return next(
        (int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM")), 0.0
    )


def watch(workers: dict[int, float]) -> None:
    """Peaks of this process's children, looked at while they live."""
    while True:
        for children in Path("/proc/self/task").glob("*/children"):
            with suppress(OSError):
                for process in map(int, children.read_text().split()):
                    workers[process] = max(workers.get(process, 0.0), peak_mb(process))
        time.sleep(0.2)


def child(source: Path, out: Path) -> None:
    from cvflow.config import SplitRule
    from cvflow.dataset.prepare import prepare
    from cvflow.formats.image_folder import ImageFolder
    from cvflow.tasks.classification import Classification

    workers: dict[int, float] = {}
    threading.Thread(target=watch, args=(workers,), daemon=True).start()
    base, before = peak_mb(os.getpid()), time.process_time()
    start = time.perf_counter()
    validation = prepare(ImageFolder(source), Classification().schema, "classification", SplitRule(), out, 64)
    seconds = time.perf_counter() - start
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = time.process_time() - before + children.ru_utime + children.ru_stime
    peaks = {"base": base, "peak": peak_mb(os.getpid()), "workers": sum(workers.values())}
    print(json.dumps({"images": sum(validation.counts.values()), "seconds": seconds, "cpu": cpu, **peaks}))
    shutil.rmtree(out)


def main(images: int, pairs: int, side: int, data: Path | None) -> int:
    """Print the tables; 1 where the peak memory grows beyond the bar."""
    with tempfile.TemporaryDirectory() as folder:
        root = data or Path(folder)
        big, small, out = root / "big", root / "small", Path(folder) / "out"
        for source, count in ((big, images), (small, images // LESS)):
            if not source.exists():
                in_processes(partial(generate, source, side), count)
        runs = [prepared(small, out), prepared(big, out)]
        pillow(small)
        timed: list[dict[str, float]] = []

        def ours() -> float:
            timed.append(prepared(small, out))
            return timed[-1]["images"] / timed[-1]["seconds"]

        speed = in_pairs(ours, lambda: pillow(small), pairs)
    few, many = (int(run["images"]) for run in runs)
    keys = ("images", "seconds", "base", "peak", "workers")
    memory = [[*(run[key] for key in keys), run["peak"] + run["workers"]] for run in runs]
    grown, together = runs[1]["peak"] / runs[0]["peak"], memory[1][-1] / memory[0][-1]
    used = ", ".join(f"{run['cpu'] / run['seconds']:.2f}" for run in timed)
    whole = (
        f"at {many:,}: {runs[1]['cpu'] / runs[1]['seconds']:.2f}, "
        f"{runs[1]['images'] / runs[1]['seconds']:,.0f} images/s"
    )
    each = f"CPU time an image at {many:,}: {1e3 * runs[1]['cpu'] / runs[1]['images']:.3f} ms."
    write_results(
        "prepare",
        "prepare",
        f"{side} x {side} JPEG files, {CLASSES} classes, {few:,} and {many:,} images.",
        "## Memory",
        table(["images", "seconds", "MB before", "peak MB", "peak MB of the workers", "together"], memory),
        f"Peak at {many:,} to peak at {few:,}: **{grown:.3f}**, "
        f"with the workers **{together:.3f}** (at most {BAR}). "
        f"Before: Python, torch and the libraries, with no image read.",
        f"## Speed: images/s against Pillow's decoding alone in {CORES} processes ({few:,} images)",
        table(["pair", "prepare", "Pillow alone", "ratio"], speed.rows()),
        f"Median ratio **{speed}**, prepare's start included, Pillow's not. "
        f"Cores used by prepare (CPU time / wall time, of {CORES}): {used}; {whole}. {each}",
    )
    return int(max(grown, together) > BAR)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument(
        "--data", type=Path, help="Folder that keeps the generated files, or has them already."
    )
    parser.add_argument("--child", nargs=2, type=Path)
    arguments = parser.parse_args()
    if arguments.child:
        child(*arguments.child)
    else:
        sys.exit(main(arguments.images, arguments.pairs, arguments.side, arguments.data))
