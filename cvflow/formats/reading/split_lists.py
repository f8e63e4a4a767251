"""Splits by their words, and by lists of names.

The lists are ``ImageSets/<kind>/{train,val,trainval,test}.txt``, as Pascal VOC has them.
"""

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
SPLIT_WORDS: dict[str, Split] = {
    **SPLIT_FOLDERS,
    "training": "train",
    "dev": "val",
    "testing": "test",
}
NAMED = 5
"""Names in two lists that the error shows."""


def split_lists(tree: Tree, folder: str) -> dict[str, Split]:
    """Return name -> split; empty if there are no lists. RequestError if a name is in two lists.

    Without a list of train, the names in trainval that are not in val are for training.
    """
    if not is_folder(tree, folder):
        return {}
    splits: dict[str, Split] = {}
    faults = []
    for split, names in _lists(tree, folder).items():
        for name in names:
            first = splits.setdefault(name, split)
            if first != split:
                got = f"'{name}', which is in {first}.txt too"
                faults.append(Fault(f"{folder}/{split}.txt", got, "each name in one split"))
    if faults:
        raise RequestError(*faults[:NAMED])
    return splits


def _lists(tree: Tree, folder: str) -> dict[Split, list[str]]:
    """split -> names, in the order train, val, test."""
    train = _names(tree, folder, "train")
    val = _names(tree, folder, "val")
    both = _names(tree, folder, "trainval")
    test = _names(tree, folder, "test")
    if not train:
        in_val = set(val)
        train = [name for name in both if name not in in_val]
    return {"train": train, "val": val, "test": test}


def _names(tree: Tree, folder: str, split: str) -> list[str]:
    """Return the first word of each line, each once; empty if there is no such list."""
    files = {entry.name for entry in tree.entries(folder)}
    if f"{split}.txt" not in files:
        return []
    text = tree.read(f"{folder}/{split}.txt").decode("utf-8-sig", "replace")
    names = [line.split()[0] for line in text.splitlines() if line.strip()]
    return list(dict.fromkeys(names))
