"""What every section of a recipe is, and how one recipe is laid over another."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator

from cvflow.registry import Component


def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """``over`` on top of ``base``: mappings merge deeply, lists replace, a changed component name
    resets its options.
    """
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = merge_value(old, value)
    return merged


def merge_value(old: Any, value: Any) -> Any:
    if isinstance(old, str) and isinstance(value, dict) and "name" not in value:
        old = {"name": old}  # a component in its short form
    if not (isinstance(old, dict) and isinstance(value, dict)):
        return value
    renamed = "name" in value and value["name"] != old.get("name", value["name"])
    return value if renamed else merge(old, value)


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _options_of_the_default(cls, data: Any) -> Any:
        """``optimizer: {lr: 0.1}`` sets an option of the component that is the key's default."""
        if not isinstance(data, dict):
            return data
        defaults = {
            k: info.default.name
            for k, info in cls.model_fields.items()
            if isinstance(info.default, Component)
        }
        return {
            k: {"name": defaults[k], **v} if k in defaults and isinstance(v, dict) else v
            for k, v in data.items()
        }
