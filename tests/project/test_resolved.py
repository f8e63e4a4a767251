"""The resolved recipe: made once for the same layers, and again for others."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from cvflow.errors import Fault, RequestError
from cvflow.project.graph import Run
from cvflow.project.resolved import resolve_layers
from cvflow.recipe.layers import load
from cvflow.stages.resolve import resolve

Faults = Callable[..., list[Fault]]
Write = Callable[..., Path]
SMALLEST = "task: classification\ndata: {format: digits}\n"
NET = """\
    from torch import Tensor, nn

    from cvflow.models.backbones.base import Backbone
    from cvflow.registry import register


    @register("backbone", "{name}")
    class Net(Backbone):
        strides = (2,)

        def __init__(self, in_channels: int, image_size: tuple[int, int], *, width: int = 4) -> None:
            super().__init__()
            self.channels, self.num_features = (width,), width
            self.layer = nn.Conv2d(in_channels, width, 3, stride=2, padding=1)

        def forward(self, x_BCHW: Tensor) -> list[Tensor]:
            return [self.layer(x_BCHW)]
    """


def test_a_plugin_s_component_is_known_and_its_options_are_checked(
    write: Write, resolved: Callable[..., Any], faults: Faults
) -> None:
    path = write(
        mine__net_py=NET.format(name="resolve_test_net"),
        mine__r_yaml=f"{SMALLEST}plugins: [net.py]\nmodel: {{backbone: {{name: resolve_test_net}}}}\n",
    )
    recipe = resolved(path).recipe
    assert recipe["model"]["backbone"] == {"name": "resolve_test_net", "width": 4}
    assert list(recipe["cvflow"]["plugins"]) == ["mine/net.py"]
    (fault,) = faults(path, model__backbone__width="wide")
    assert fault.where == "override model.backbone.width"


def test_an_edited_plugin_replaces_itself(write: Write, resolved: Callable[..., Any]) -> None:
    """In one process, as in a notebook: a broken edit is named, the mended file is loaded anew."""
    text = NET.format(name="resolve_test_edited")
    path = write(
        net_py=text, r_yaml=f"{SMALLEST}plugins: [net.py]\nmodel: {{backbone: resolve_test_edited}}\n"
    )
    assert resolved(path).recipe["model"]["backbone"]["width"] == 4
    write(net_py=text + "raise ValueError('half way')\n")
    with pytest.raises(RequestError, match="ValueError: half way"):
        resolved(path)
    write(net_py=text.replace("width: int = 4", "width: int = 8"))
    assert resolved(path).recipe["model"]["backbone"]["width"] == 8
    write(net_py=text)
    assert resolved(path).recipe["model"]["backbone"]["width"] == 4


def test_numbers_as_people_write_them(write: Write, resolved: Callable[..., Any]) -> None:
    """YAML takes 1e-3 for a word."""
    recipe = resolved(
        write(r_yaml=SMALLEST + "train: {optimizer: {name: sgd, lr: 1e-3}}\n"),
        train__optimizer__weight_decay="5e-4",
    ).recipe
    assert recipe["train"]["optimizer"]["lr"] == 1e-3
    assert recipe["train"]["optimizer"]["weight_decay"] == 5e-4


def entry(recipe: Path, source: str | None = None, **overrides: Any) -> Run:
    """The run ``r`` of a recipe, in params.yaml."""
    run = {"recipe": str(recipe), "source": source or str(recipe), "overrides": overrides}
    Path("params.yaml").write_text(yaml.safe_dump({"runs": {"r": run}}))
    return Run("r")


RESOLVE_IN_A_PROCESS = """
import sys
from cvflow.stages.resolve import resolve
from cvflow.project.graph import Run
resolve(Run("r"))
print("torch" in sys.modules)
"""


def test_nothing_changed_imports_no_torch_and_changed_files_are_noticed(
    write: Write, folder: Callable[..., Path]
) -> None:
    """A comment in the recipe changes nothing; a changed parent recipe and a changed plugin do."""
    folder("raw", {"a": 2, "b": 2})
    child = write(
        net_py=NET.format(name="resolve_test_cached"),
        parent_yaml="task: classification\ndata: "
        "{format: image_folder, source: raw}\nplugins: [net.py]\nseed: 1\n",
        child_yaml="extends: parent.yaml\n",
    )
    resolve(entry(child, "raw"))
    first = Run("r").path("recipe.yaml").read_text()
    Run("r").path("recipe.yaml").unlink()
    write(child_yaml="# a comment\nextends: parent.yaml\n")
    done = subprocess.run(
        [sys.executable, "-c", RESOLVE_IN_A_PROCESS], check=True, capture_output=True, text=True, timeout=120
    )
    assert done.stdout == "False\n"
    assert Run("r").path("recipe.yaml").read_text() == first
    write(parent_yaml=Path("parent.yaml").read_text().replace("seed: 1", "seed: 2"))
    resolve(Run("r"))
    assert Run("r").resolved["seed"] == 2
    Path("net.py").write_text(Path("net.py").read_text() + "# changed\n")
    resolve(Run("r"))
    assert Run("r").resolved["cvflow"]["plugins"] != yaml.safe_load(first)["cvflow"]["plugins"]


def test_changed_weights_and_a_lost_source_are_noticed(write: Write, folder: Callable[..., Path]) -> None:
    source = folder("raw", {"a": 2, "b": 2})
    Path("w.safetensors").write_bytes(b"one")
    data = (
        "task: classification\ndata: {format: image_folder, source: raw}\nmodel: {weights: w.safetensors}\n"
    )
    run = entry(write(r_yaml=data), "raw")
    resolve(run)
    first = Run("r").resolved["cvflow"]["weights"]
    Path("w.safetensors").write_bytes(b"two")
    resolve(run)
    assert Run("r").resolved["cvflow"]["weights"] != first
    source.rename("gone")
    with pytest.raises(RequestError, match="data.source: got 'raw'"):
        resolve(run)


def test_what_params_yaml_must_say(write: Write, folder: Callable[..., Path]) -> None:
    folder("raw", {"a": 2, "b": 2})
    recipe = write(r_yaml="task: classification\ndata: {format: image_folder, source: raw}\n")
    with pytest.raises(
        RequestError, match=r"params.yaml runs.r.source: got 'r.yaml', expected 'raw', as in the recipe"
    ):
        resolve(entry(recipe))
    with pytest.raises(RequestError, match="recipe lost.yaml"):
        resolve(entry(Path("lost.yaml")))
    with pytest.raises(RequestError, match="params.yaml runs: got 'rr', expected one of r. Did you mean 'r'"):
        resolve(Run("rr"))


def test_lines_of_a_recipe_read_elsewhere(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(deep__r_yaml=f"{SMALLEST}seed: x\n").absolute()
    monkeypatch.chdir("deep")
    with pytest.raises(RequestError) as caught:
        resolve_layers(load(path, {}))
    assert caught.value.faults[0].where == f"{path}:3 seed"
