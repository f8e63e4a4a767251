"""Many records by processes: the same as few by threads; planted wrong labels are found by thumbnails."""

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from cvflow.config import SplitRule
from cvflow.dataset import workers
from cvflow.dataset.label_suspects import vote
from cvflow.dataset.prepare import inspect, prepare
from cvflow.dataset.prepared import PreparedDataset
from cvflow.formats.built_in.digits import Digits
from cvflow.formats.image_folder import ImageFolder
from cvflow.stages.prepare.data_page import data_page
from cvflow.tasks.classification import Classification
from cvflow.types import DatasetInfo


def test_processes_give_the_same_bytes_as_threads(make_folder, labelled, tmp_path, monkeypatch):
    source = make_folder({"a": 60, "b": 60})
    (source / "a/000.png").write_bytes(b"rubbish")
    written = []
    for name, least in (("threads", 1000), ("processes", 1)):
        monkeypatch.setattr(workers, "PROCESSES_FROM", least)
        prepare(ImageFolder(source), labelled, "classification", SplitRule(), tmp_path / name, 1)
        written.append({p.name: p.read_bytes() for p in (tmp_path / name).iterdir()})
    assert written[0] == written[1]


def test_worker_processes_do_without_torch():
    code = (
        "import sys, cvflow.dataset.inspect_record; "
        "sys.exit('torch' in sys.modules or 'pyarrow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_workers_end_with_a_parent_that_is_killed(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(
        "import os\n"
        "from concurrent.futures import ProcessPoolExecutor\n"
        "from multiprocessing import get_context\n"
        "from cvflow.dataset.inspect_record import begin\n"
        "if __name__ == '__main__':\n"
        "    pool = ProcessPoolExecutor(1, mp_context=get_context('spawn'), initializer=begin)\n"
        "    print(pool.submit(os.getpid).result(), flush=True)\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    said = subprocess.run([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, check=False)
    assert said.returncode == -9
    worker, end = Path(f"/proc/{int(said.stdout)}"), time.monotonic() + 20
    while (
        worker.exists() and worker.joinpath("stat").read_text().split()[2] != "Z" and time.monotonic() < end
    ):
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
    assert {f.what for f in validation.findings if f.action == "left out"} == {
        "0.0001 megapixels, over the limit of 5e-05"
    }
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


class Mislabelled(Digits):
    """Every 40th digit is said to be another."""

    def __iter__(self):
        for i, record in enumerate(super().__iter__()):
            yield (
                record
                if i % 40
                else replace(record, annotation={"label": (record.annotation["label"] + 1 + i % 9) % 10})
            )


def test_label_suspects_are_named_and_shown(labelled):
    found = inspect(Mislabelled(None), labelled)
    suspects = [f for f in found.findings if f.topic == "label suspect"]
    named = {record.id for f in suspects for record in f.records}
    wrong = {f"digit-{i:04d}" for i in range(0, 1797, 40)}
    assert len(named & wrong) > 0.85 * len(wrong)
    assert len(named & wrong) > 0.9 * len(named)
    task = Classification()
    task.bind(DatasetInfo("classification", Digits(None).classes, found.counts, (0.5,), (0.25,), ""))
    html = data_page("digits", found, task)
    assert f"Label suspect ({len(suspects)}" in html
    assert html.count(suspects[0].file) == 2  # in the table, and below its picture


@pytest.mark.parametrize(("count", "accuracy"), [(1000, 0.5), (20, None), (0, None)])
def test_nothing_is_named_where_thumbnails_cannot_tell(count, accuracy):
    draw = np.random.default_rng(0)
    answer = vote(draw.integers(0, 256, (count, 192), dtype=np.uint8), draw.integers(0, 2, count))
    assert answer.suspects == ()
    assert answer.accuracy == accuracy or abs(answer.accuracy - accuracy) < 0.06
