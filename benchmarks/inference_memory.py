"""Peak memory of batch inference over 10,000 and 100,000 rows, in this process, of Ray's driver and
below it: it must not grow.

python benchmarks/inference_memory.py [FEW MANY]
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from inference import make_images, make_model
from measure import table, write_results

BAR = 1.2
"""Of a peak over many rows to that over few."""
SIZES = (10_000, 100_000)
CHILD = """
import json, resource, sys, threading, time
from contextlib import suppress
from pathlib import Path

import psutil

from cvflow.config import Compute
from cvflow.stages.predict import predict_path

model, source, out, workers = sys.argv[1:]
most = 0


def share(process):
    with suppress(psutil.Error):  # gone
        return process.memory_full_info().pss
    return 0


def watch():
    global most
    while True:
        most = max(most, sum(map(share, psutil.Process().children(recursive=True))))
        time.sleep(0.5)


if int(workers):
    threading.Thread(target=watch, daemon=True).start()
compute = Compute(workers=int(workers), threads=1, device="cpu")
predict_path(Path(model), "m/1", Path(source), Path(out), compute)
print(json.dumps([resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, most / 2**20]))
"""


def peaks(model: Path, source: Path, out: Path, workers: int) -> list[float]:
    """Peak resident MB of the process that was asked; of all below it together, pages that they
    share counted once.
    """
    done = subprocess.run(
        [sys.executable, "-c", CHILD, *map(str, (model, source, out, workers))],
        capture_output=True,
        text=True,
        check=True,
    )
    answer: list[float] = json.loads(done.stdout.splitlines()[-1])
    return answer


def main(*sizes: int) -> int:
    """Print the table; 1 where a peak grows beyond the bar."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = make_model(folder / "model")
        files = [make_images(folder / f"{size}.parquet", size) for size in sizes]
        alone, spread = (
            [peaks(model, file, folder / "out", workers) for file in files] for workers in (0, 2)
        )
    found = {
        "in this process": [here for here, _ in alone],
        "Ray's driver, 2 actors": [here for here, _ in spread],
        "all processes below the driver": [below for _, below in spread],
    }
    columns = ["where", *(f"{size:,} rows, MB" for size in sizes), "ratio"]
    rows = [[where, few, many, f"{many / few:.2f}"] for where, (few, many) in found.items()]
    text = (
        f"The ratio at most {BAR}. Below the driver: Ray's own processes and "
        "the actors, twice a second; what they share counted once."
    )
    write_results(
        "inference_memory", "Peak memory of batch inference", table(columns, rows), text, keep=sizes == SIZES
    )
    return int(any(many > BAR * few for few, many in found.values()))


if __name__ == "__main__":
    sys.exit(main(*(map(int, sys.argv[1:]) if sys.argv[1:] else SIZES)))
