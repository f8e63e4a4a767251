"""Many records by processes: the same as few by threads; planted wrong labels are found where thumbnails can tell."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from cvflow.config import SplitRule
from cvflow.data import examine
from cvflow.data.dataset import PreparedDataset
from cvflow.data.formats.digits import Digits
from cvflow.data.formats.image_folder import ImageFolder
from cvflow.data.prepare import inspect, prepare
from cvflow.data.suspects import vote


def test_processes_give_the_same_bytes_as_threads(make_folder, labelled, tmp_path, monkeypatch):
    source = make_folder({"a": 60, "b": 60})
    (source / "a/000.png").write_bytes(b"rubbish")
    written = []
    for name, least in (("threads", 1000), ("processes", 1)):
        monkeypatch.setattr(examine, "PROCESSES_FROM", least)
        prepare(ImageFolder(source), labelled, "classification", SplitRule(), tmp_path / name, 1)
        written.append({p.name: p.read_bytes() for p in (tmp_path / name).iterdir()})
    assert written[0] == written[1]


def test_worker_processes_do_without_torch():
    code = "import sys, cvflow.data.look; sys.exit('torch' in sys.modules or 'pyarrow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_workers_end_with_a_parent_that_is_killed(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(
        "import os\n"
        "from concurrent.futures import ProcessPoolExecutor\n"
        "from multiprocessing import get_context\n"
        "from cvflow.data.look import begin\n"
        "if __name__ == '__main__':\n"
        "    pool = ProcessPoolExecutor(1, mp_context=get_context('spawn'), initializer=begin)\n"
        "    print(pool.submit(os.getpid).result(), flush=True)\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    said = subprocess.run([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, check=False)
    assert said.returncode == -9
    worker, end = Path(f"/proc/{int(said.stdout)}"), time.monotonic() + 20
    while worker.exists() and worker.joinpath("stat").read_text().split()[2] != "Z" and time.monotonic() < end:
        time.sleep(0.05)
    assert not worker.exists() or worker.joinpath("stat").read_text().split()[2] == "Z"


def test_a_look_without_writing(make_folder, labelled):
    source = make_folder({"a": 12, "b": 12})
    before = sorted(source.rglob("*"))
    validation = inspect(ImageFolder(source), labelled)
    assert validation.counts == {"train": 24, "val": 0, "test": 0}
    assert validation.facts["width"] == {"least": 10, "median": 10.0, "mean": 10.0, "greatest": 10}
    assert validation.facts["sizes"] == [[10, 12, 24]]
    assert len(validation.examples) == 16
    assert sorted(source.rglob("*")) == before
    json.dumps(validation.plain())


def test_megapixels_over_the_recipes_limit_are_left_out(make_folder, labelled, tmp_path):
    validation = inspect(ImageFolder(make_folder({"a": 2, "b": 2})), labelled, max_megapixels=5e-5)
    assert {f.what for f in validation.findings if f.action == "left out"} == {"0.0001 megapixels, over the limit of 5e-05"}
    prepare(Digits(None), labelled, "classification", SplitRule(), tmp_path / "out", 64, max_megapixels=7)
    assert PreparedDataset(tmp_path / "out").info.extra["max_megapixels"] == 7


def digits():
    data = load_digits()
    pixels = np.round(data.images * (255 / 16)).astype(np.uint8).reshape(-1, 64, 1)
    return pixels.repeat(3, 2).reshape(-1, 192), data.target.astype(np.int64)


def test_planted_wrong_labels_are_found():
    thumbnails, labels = digits()
    draw = np.random.default_rng(0)
    wrong = draw.random(len(labels)) < 0.05
    noisy = np.where(wrong, (labels + draw.integers(1, 10, len(labels))) % 10, labels)
    answer = vote(thumbnails, noisy)
    found = np.zeros(len(labels), dtype=bool)
    found[[s.index for s in answer.suspects]] = True
    assert (found & wrong).sum() / wrong.sum() > 0.85
    assert (found & wrong).sum() / found.sum() > 0.95
    right = [s for s in answer.suspects if wrong[s.index]]
    assert sum(s.other == labels[s.index] for s in right) / len(right) > 0.9
    assert len(vote(thumbnails, labels).suspects) <= 3


@pytest.mark.parametrize(("count", "accuracy"), [(1000, 0.5), (20, None), (0, None)])
def test_nothing_is_named_where_thumbnails_cannot_tell(count, accuracy):
    draw = np.random.default_rng(0)
    answer = vote(draw.integers(0, 256, (count, 192), dtype=np.uint8), draw.integers(0, 2, count))
    assert answer.suspects == ()
    assert answer.accuracy == accuracy or abs(answer.accuracy - accuracy) < 0.06
