"""Places that cannot be written to are refused before the work, by every verb that writes where it
is told.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from cvflow.errors import RequestError
from cvflow.project.writable import check_file, check_folder
from cvflow.stages.predict import check_out
from cvflow.verbs.data_check import check_data
from cvflow.verbs.onnx_file import export


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("mine")
    return tmp_path


def test_what_can_be_written_leaves_nothing_behind(here: Path) -> None:
    for out in (Path("new.html"), Path("file"), Path("deep/er/new.html"), here / "new"):
        check_file(out)
        check_folder(out.parent)
    assert sorted(path.name for path in here.rglob("*")) == ["file", "folder"]


@pytest.mark.parametrize("out", ["/proc/x", "/proc/deep/x", "file/x"])
def test_what_cannot_be_written(here: Path, out: str) -> None:
    for refuse in (
        check_file,
        check_out,
        lambda path: export("no-such-model", path),
        lambda path: check_data(here, out=path),
    ):
        with pytest.raises(RequestError, match=f"--out: got '{out}', and in .* nothing can be written"):
            refuse(Path(out))
    assert (here / "file").read_text() == "mine"


def test_a_folder_is_no_file(here: Path) -> None:
    for refuse in (check_file, lambda path: export("no-such-model", path)):
        with pytest.raises(RequestError, match="--out: got 'folder', a folder, expected a file to write"):
            refuse(Path("folder"))
