"""From raw annotated images to a registered CNN model and its predictions, in one short recipe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Model", "load", "run"]

if TYPE_CHECKING:
    from cvflow.verbs.api import Model, load, run


def __getattr__(name: str) -> Any:
    if name in __all__:
        import cvflow.verbs.api as api

        return getattr(api, name)
    raise AttributeError(f"module 'cvflow' has no attribute '{name}'")
