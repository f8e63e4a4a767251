"""A search as it is written in a recipe: where its faults stand, and one over a plugin's options."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import cvflow.project.project as projects
from cvflow import plugins, registry
from cvflow.errors import Fault, RequestError
from cvflow.project.resolved import resolve_layers
from cvflow.recipe.layers import load
from cvflow.verbs.search import check


def test_the_faults_of_a_search_stand_where_they_were_written(write: Callable[..., Path]) -> None:
    text = "search:\n  space:\n    seed: [1]\n    train:\n      optimizer: {lr: 'loguniform(0, 1)'}\n"
    path = write(mine_yaml=f"extends: {projects.locate('digits')}\n{text}")
    with pytest.raises(RequestError) as caught:
        resolve_layers(load(path, {}))
    expected = "a least value above 0 for a logarithmic range"
    assert caught.value.faults == (
        Fault("mine.yaml:6 search.space.train.optimizer.lr", "'loguniform(0, 1)'", expected),
    )


PLUGIN = """
    from torch import nn

    from cvflow.models.backbones.base import Backbone
    from cvflow.registry import register


    @register("backbone", "own")
    class Own(Backbone):
        strides = (2,)

        def __init__(self, in_channels: int, image_size: tuple[int, int], *, width: int = 4) -> None:
            super().__init__()
            self.channels, self.num_features = (width,), width
            self.layer = nn.Conv2d(in_channels, width, 3, stride=2, padding=1)

        def forward(self, x_BCHW):
            return [self.layer(x_BCHW)]
"""


def test_a_search_over_a_plugin_is_checked_again_where_the_recipe_was_resolved_before(
    write: Callable[..., Path],
) -> None:
    write(
        own_py=PLUGIN,
        mine_yaml=f"extends: {projects.locate('digits')}\nplugins: [own.py]\nmodel: {{backbone: own}}\n",
    )
    space = {"search.space.model.backbone.width": [4, 8]}
    check("mine.yaml", space, "mine-search")
    for module in [
        name for name in sys.modules if name.startswith("cvflow_plugin_")
    ]:  # as in another process
        registry.forget(module)
        del sys.modules[module]
    plugins._loaded.clear()
    check("mine.yaml", space, "mine-search")
    with pytest.raises(RequestError, match="search.space.model.backbone.width.*0"):
        check("mine.yaml", {"search.space.model.backbone.width": [0, 8]}, "mine-search")
