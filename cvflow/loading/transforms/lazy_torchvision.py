"""torchvision's modules, imported when they are first used: that takes two seconds, and checking a
recipe uses none of it.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any


class Later:
    """Stands for a module."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("_"):
            raise AttributeError(attribute)  # copying asks for such ones
        value = getattr(import_module(self._name), attribute)
        # the next time it is found before this is asked
        setattr(self, attribute, value)
        return value


F = Later("torchvision.transforms.v2.functional")
v2 = Later("torchvision.transforms.v2")
transforms = Later("torchvision.transforms")
tv_tensors = Later("torchvision.tv_tensors")
