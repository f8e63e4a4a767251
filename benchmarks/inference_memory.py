"""Peak memory of batch inference over 10,000 and 100,000 rows, in this process and of Ray's driver: it must not grow."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from inference import make_images, make_model
from measure import table, write_results

CHILD = """
import resource, sys
from pathlib import Path
from cvflow.config import Compute
from cvflow.stages.predict import predict_path
model, source, out, workers = sys.argv[1:]
written = predict_path(Path(model), "m/1", Path(source), Path(out), Compute(workers=int(workers), threads=1, device="cpu"))
print(written.rows, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""
SIZES = (10_000, 100_000)


def peak(model: Path, source: Path, out: Path, workers: int) -> float:
    """Peak resident MB of the process that was asked."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD, *map(str, (model, source, out, workers))], capture_output=True, text=True, check=True
    )
    return float(done.stdout.split()[-1])


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = make_model(folder / "model")
        files = [make_images(folder / f"{size}.parquet", size) for size in SIZES]
        rows = []
        for where, workers in (("in this process", 0), ("Ray's driver, 2 actors", 2)):
            small, large = (peak(model, file, folder / "out", workers) for file in files)
            rows.append([where, small, large, f"{large / small:.2f}"])
    columns = ["where", *(f"{size:,} rows, MB" for size in SIZES), "ratio"]
    write_results("inference_memory", "Peak memory of batch inference", table(columns, rows))


if __name__ == "__main__":
    main()
