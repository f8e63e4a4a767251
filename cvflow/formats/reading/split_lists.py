"""Splits by the words for them, and by lists of names: ``ImageSets/<kind>/{train,val,trainval,test}.txt``, as Pascal VOC has them."""

from __future__ import annotations

from cvflow.errors import Fault, RequestError
from cvflow.formats.reading.trees import Tree, is_folder
from cvflow.types import Split

SPLIT_FOLDERS: dict[str, Split] = {
    "train": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}
SPLIT_WORDS: dict[str, Split] = {**SPLIT_FOLDERS, "training": "train", "dev": "val", "testing": "test"}
NAMED = 5
"""Names in two lists that a fault shows."""


def split_lists(tree: Tree, folder: str) -> dict[str, Split]:
    """name -> split; empty where there are no lists. Of trainval what is not in val is for training.

    RequestError where a name is in two lists.
    """
    if not is_folder(tree, folder):
        return {}
    there = {entry.name for entry in tree.entries(folder)}
    lists = {
        split: _names(tree, f"{folder}/{split}.txt")
        for split in ("train", "val", "trainval", "test")
        if f"{split}.txt" in there
    }
    both = {name: None for name in lists.pop("trainval", {}) if name not in lists.get("val", {})}
    lists["train"] = lists.get("train") or both
    found: dict[str, Split] = {}
    faults = []
    for split in ("train", "val", "test"):
        for name in lists.get(split, {}):
            if found.setdefault(name, split) != split:
                faults.append(
                    Fault(
                        f"{folder}/{split}.txt",
                        f"'{name}', which is in {found[name]}.txt too",
                        "each name in one split",
                    )
                )
    if faults:
        raise RequestError(*faults[:NAMED])
    return found


def _names(tree: Tree, path: str) -> dict[str, None]:
    """The first word of each line."""
    lines = tree.read(path).decode("utf-8-sig", "replace").splitlines()
    return dict.fromkeys(line.split()[0] for line in lines if line.strip())
