"""What torchvision fetches, from a real server."""

from __future__ import annotations

import gzip
import hashlib
import struct
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from cvflow.annotations.image import decode
from cvflow.errors import RequestError
from cvflow.formats.torchvision import TorchVision
from tests.formats.torchvision_trees import sbd, tree


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, list[str], Path]]:
    """(URL, paths asked for, folder) of a server of files; torch's cache lies in the test's folder."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    asked: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            asked.append(self.path)

    (tmp_path / "served").mkdir()
    served = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(tmp_path / "served")))
    thread = threading.Thread(target=served.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{served.server_port}/", asked, tmp_path / "served"
    finally:
        served.shutdown()
        served.server_close()
        thread.join()


def test_mnist_is_fetched_once_into_torch_s_cache(
    server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision.datasets import MNIST

    url, asked, folder = server
    resources = []
    for name, count in (("train", 20), ("t10k", 10)):
        images = np.random.default_rng(count).integers(0, 256, (count, 28, 28), dtype=np.uint8)
        for kind, array in (
            ("images-idx3", images),
            ("labels-idx1", (np.arange(count) % 10).astype(np.uint8)),
        ):
            head = struct.pack(">BBBB", 0, 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
            data = gzip.compress(head + array.tobytes())
            (folder / f"{name}-{kind}-ubyte.gz").write_bytes(data)
            resources.append(
                (f"{name}-{kind}-ubyte.gz", hashlib.md5(data, usedforsecurity=False).hexdigest())
            )
    monkeypatch.setattr(MNIST, "mirrors", [url])
    monkeypatch.setattr(MNIST, "resources", resources)
    records = list(TorchVision(None, dataset="MNIST", download=True))
    assert {path.lstrip("/") for path in asked} == {name for name, _ in resources}
    assert (tmp_path / "torch/datasets/MNIST/raw/t10k-labels-idx1-ubyte").is_file()
    assert [r.split for r in records] == ["train"] * 20 + ["test"] * 10
    np.testing.assert_array_equal(decode(records[29].images["image"](), 1)[..., 0], images[9])
    asked.clear()
    assert [r.id for r in TorchVision(None, dataset="MNIST", download=True)] == [r.id for r in records]
    assert asked == []


def test_sbd_is_fetched_and_opened_for_both_splits(
    server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision.datasets import SBDataset

    url, asked, folder = server
    root = tree(tmp_path / "made/benchmark_RELEASE/dataset", sbd())
    with tarfile.open(folder / "benchmark.tgz", "w:gz") as file:
        file.add(root.parents[1] / "benchmark_RELEASE", "benchmark_RELEASE")
    monkeypatch.setattr(SBDataset, "url", f"{url}benchmark.tgz")
    monkeypatch.setattr(
        SBDataset,
        "md5",
        hashlib.md5((folder / "benchmark.tgz").read_bytes(), usedforsecurity=False).hexdigest(),
    )
    for _ in range(2):
        assert [r.split for r in TorchVision(None, dataset="SBDataset", download=True)] == [
            "train",
            "train",
            "val",
        ]
    assert len(set(asked)) == 1


def test_a_server_that_is_away(server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from torchvision.datasets import MNIST

    monkeypatch.setattr(MNIST, "mirrors", ["http://127.0.0.1:9/"])
    with pytest.raises(RequestError) as caught:
        TorchVision(None, dataset="MNIST", download=True)
    said = str(caught.value)
    assert f"to be put into {tmp_path}/torch/datasets" in said
    assert "type data.source=<their root>: https://pytorch.org/vision" in said
    with pytest.raises(RequestError, match="torchvision does not fetch it"):
        TorchVision(None, dataset="KittiFlow", download=True)
