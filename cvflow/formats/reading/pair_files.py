"""The files of pairs: two images and their maps, by the patterns of a layout.

Each may lie below a folder of a split.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from cvflow.annotations.image import IMAGE_SUFFIXES
from cvflow.errors import RequestError
from cvflow.formats.reading.pair_layouts import FLOW, STEREO, Layout
from cvflow.formats.reading.split_lists import SPLIT_WORDS
from cvflow.formats.reading.trees import Tree, open_tree
from cvflow.types import Split

MAP_SUFFIXES = (".flo", ".npy", ".npz", ".pfm", ".png")
SUFFIXES = tuple(sorted({*IMAGE_SUFFIXES, *MAP_SUFFIXES}))
A_FEW = 20
"""Files of each folder by which a source is recognised."""
MANY = 2000
"""Files in all by which a source is recognised."""
_PLACEHOLDER = re.compile(r"(\{id\}|\{n\})")
_PARTS = {"{id}": r"(?P<id>.+)", "{n}": r"(?P<n>\d+)"}


class PairFiles(NamedTuple):
    """The files of a pair.

    files: column -> path, None if there is no such file. split: by its folder. group: the sequence, if
    the pairs are numbered.
    """

    id: str
    files: Mapping[str, str | None]
    split: Split | None
    group: str | None


def files_below(tree: Tree, folder: str = "", most: int | None = None) -> Iterator[str]:
    """Yield every file with the suffix of an image or a map, in order. most: of each folder."""
    files = 0
    for entry in tree.entries(folder):
        if entry.kind == "folder":
            yield from files_below(tree, entry.path, most)
            continue
        has_suffix = entry.name.lower().endswith(SUFFIXES)
        if entry.kind == "file" and has_suffix and files != most:
            files += 1
            yield entry.path


def looks_like_pairs(source: Path) -> bool:
    """Return whether a look at some of the files shows two images and a map in one of the layouts."""
    try:
        tree = open_tree(source, "pairs")
    except RequestError:
        # Neither a folder nor a readable zip.
        return False
    files = islice(files_below(tree, most=A_FEW), MANY)
    return recognised(files, (*STEREO, *FLOW)) is not None


def has_images_in_folders(tree: Tree) -> bool:
    """Return whether a look at some of the files shows an image in a folder, at any depth."""
    paths = islice(files_below(tree, most=A_FEW), MANY)
    return any("/" in path and path.lower().endswith(IMAGE_SUFFIXES) for path in paths)


def near_miss(source: Path) -> str:
    """Return what is there of a pair's folders, if their names say so and no layout fits; with the
    patterns to type.
    """
    try:
        tree = open_tree(source, "pairs")
    except RequestError:
        return ""
    folders = [entry.name for entry in tree.entries("") if entry.kind == "folder"]
    maps = [name for name in folders if name.lower().startswith(("flow", "disp"))]
    if not maps:
        return ""
    images = [name for name in folders if name not in maps]
    frames = images[0] if images else "frames"
    if maps[0].lower().startswith("flow"):
        patterns = (
            f"data.format.first={frames}/{{id}}_{{n}}.png data.format.second={frames}/{{id}}_{{n+1}}.png "
            f"data.format.flow={maps[0]}/{{id}}_{{n}}.flo"
        )
    else:
        patterns = (
            f"data.format.left={images[0] if images else 'left'}/{{id}}.png "
            f"data.format.right={images[1] if len(images) > 1 else 'right'}/{{id}}.png "
            f"data.format.disparity={maps[0]}/{{id}}.pfm"
        )
    return (
        f"the folder {maps[0]} is there, and its files fit no layout; give their patterns, as in {patterns}"
    )


def pairs(files: Iterable[str], layout: Layout) -> Iterator[PairFiles]:
    """Yield a pair for each file that fits the first pattern and has another file of the pair.

    In order of the files. The last image of a numbered sequence begins no pair.
    """
    files = list(files)
    by_name = _by_name(files)
    first, second, *_ = layout
    pattern = _regex(layout[first])
    numbered = "{n}" in layout[first]
    for path in files:
        match = pattern.fullmatch(path)
        if match is None:
            continue
        paths: dict[str, str | None] = {}
        for column, text in layout.items():
            paths[column] = by_name.get(_filled(text, match))
        del paths[first]
        has_second = paths[second] or not numbered
        if has_second and any(paths.values()):
            yield _pair(match, {first: path, **paths}, numbered)


def recognised(files: Iterable[str], layouts: Iterable[Layout]) -> Layout | None:
    """Return the first layout in which some pair has both images and the first map."""
    files = list(files)
    for layout in layouts:
        required = list(layout)[:3]
        for pair in pairs(files, layout):
            if all(map(pair.files.get, required)):
                return layout
    return None


def _by_name(files: list[str]) -> dict[str, str]:
    """path, with or without its suffix -> path."""
    by_name: dict[str, str] = {}
    for path in files:
        by_name.setdefault(_stem(path), path)
    # A path itself is surer than another file's path without its suffix.
    for path in files:
        by_name[path] = path
    return by_name


def _pair(match: re.Match[str], files: Mapping[str, str | None], numbered: bool) -> PairFiles:
    folder = match["split"] or ""
    split = SPLIT_WORDS.get(folder.rstrip("/").lower())
    name = match["id"]
    if not numbered:
        return PairFiles(f"{folder}{name}", files, split, None)
    return PairFiles(f"{folder}{name}_{match['n']}", files, split, group=name)


def _regex(pattern: str) -> re.Pattern[str]:
    body = ""
    for part in _PLACEHOLDER.split(pattern):
        body += _PARTS.get(part, re.escape(part))
    suffix = ""
    if not pattern.lower().endswith(SUFFIXES):
        suffix = _any_of(map(re.escape, SUFFIXES))
    split = _any_of(SPLIT_WORDS)
    return re.compile(f"(?P<split>{split}/)?{body}{suffix}", re.IGNORECASE)


def _any_of(patterns: Iterable[str]) -> str:
    return f"(?:{'|'.join(patterns)})"


def _filled(pattern: str, match: re.Match[str]) -> str:
    """Return the path that a pattern stands for."""
    text = pattern.replace("{id}", match["id"])
    if "{n" in pattern:
        digits = match["n"]
        following = str(int(digits) + 1).zfill(len(digits))
        text = text.replace("{n}", digits).replace("{n+1}", following)
    return (match["split"] or "") + text


def _stem(path: str) -> str:
    """Return the path without the suffix of an image or a map."""
    if not path.lower().endswith(SUFFIXES):
        return path
    return path.rpartition(".")[0]
