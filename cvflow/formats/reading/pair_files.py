"""Where the two images and the maps of a pair lie: path patterns, and the files that fit them.

A pattern is a path below the source, as ``left/{id}`` or ``{id}/im0.png``: ``{id}`` stands for any path, ``{n}`` for digits and
``{n+1}`` for the next number, as wide. Without a suffix, any fits. Each may lie below a folder of a split.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from cvflow.annotations.image import IMAGE_SUFFIXES
from cvflow.errors import RequestError
from cvflow.formats.reading.split_lists import SPLIT_WORDS
from cvflow.formats.reading.trees import Tree, open_tree
from cvflow.types import Split

MAP_SUFFIXES = (".flo", ".npy", ".npz", ".pfm", ".png")
SUFFIXES = tuple(sorted({*IMAGE_SUFFIXES, *MAP_SUFFIXES}))
A_FEW, MANY = 20, 2000
"""Files of a folder and in all by which a source is recognised."""
Layout = Mapping[str, str]
"""Column -> pattern; the two images first."""
STEREO: tuple[Layout, ...] = (
    {
        "left": "left/{id}",
        "right": "right/{id}",
        "disparity": "disparity/{id}",
        "disparity_right": "disparity_right/{id}",
    },
    {"left": "image_2/{id}_10", "right": "image_3/{id}_10", "disparity": "disp_occ_0/{id}_10"},
    {"left": "colored_0/{id}_10", "right": "colored_1/{id}_10", "disparity": "disp_occ/{id}_10"},
    {"left": "{id}/im0", "right": "{id}/im1", "disparity": "{id}/disp0", "disparity_right": "{id}/disp1"},
    {
        "left": "{id}_left",
        "right": "{id}_right",
        "disparity": "{id}_disp",
        "disparity_right": "{id}_disp_right",
    },
)
"""Ours, KITTI 2015 and 2012, Middlebury 2014, and side by side."""
FLOW: tuple[Layout, ...] = (
    {"first": "first/{id}", "second": "second/{id}", "flow": "flow/{id}"},
    {"first": "image_2/{id}_10", "second": "image_2/{id}_11", "flow": "flow_occ/{id}_10"},
    {"first": "colored_0/{id}_10", "second": "colored_0/{id}_11", "flow": "flow_occ/{id}_10"},
    {"first": "{id}/frame10", "second": "{id}/frame11", "flow": "{id}/flow10"},
    {"first": "{id}_img1", "second": "{id}_img2", "flow": "{id}_flow"},
    {"first": "clean/{id}_{n}", "second": "clean/{id}_{n+1}", "flow": "flow/{id}_{n}"},
)
"""Ours, KITTI 2015 and 2012, Middlebury, Flying Chairs, Sintel."""
_PARTS = {"{id}": r"(?P<id>.+)", "{n}": r"(?P<n>\d+)"}


class Found(NamedTuple):
    """files: column -> path; None = there is no such file. split: that its folder gives. group: the sequence, where it is numbered."""

    id: str
    files: Mapping[str, str | None]
    split: Split | None
    group: str | None


def files_below(tree: Tree, folder: str = "", most: int | None = None) -> Iterator[str]:
    """Every file whose suffix is one of an image or a map, in order. most: of each folder, no more."""
    files = 0
    for entry in tree.entries(folder):
        if entry.kind == "folder":
            yield from files_below(tree, entry.path, most)
        elif entry.kind == "file" and entry.name.lower().endswith(SUFFIXES) and files != most:
            files += 1
            yield entry.path


def looks_like_pairs(source: Path) -> bool:
    """Whether two images and a map lie there in one of the layouts, by a look at some of the files."""
    try:
        tree = open_tree(source, "pairs")
    except RequestError:  # neither folder nor whole zip
        return False
    return recognised(islice(files_below(tree, most=A_FEW), MANY), (*STEREO, *FLOW)) is not None


def pairs(files: Iterable[str], layout: Layout) -> Iterator[Found]:
    """One for each file that fits the first pattern and has another of the pair's beside it, in order of the files.

    The last of a numbered sequence begins none.
    """
    files = list(files)
    by_name = {**{_stem(path): path for path in reversed(files)}, **{path: path for path in files}}
    first, second, *_ = layout
    pattern = _regex(layout[first])
    for path in files:
        match = pattern.fullmatch(path)
        if match is None:
            continue
        places = {column: _filled(text, match) for column, text in layout.items()}
        found = {**{column: by_name.get(place) for column, place in places.items()}, first: path}
        if not any(found[column] for column in layout if column != first) or (
            "{n}" in layout[first] and not found[second]
        ):
            continue
        split = (match["split"] or "").rstrip("/").lower()
        number = match["n"] if "{n}" in layout[first] else None
        name = f"{match['id']}_{number}" if number else match["id"]
        yield Found(
            f"{match['split'] or ''}{name}", found, SPLIT_WORDS.get(split), match["id"] if number else None
        )


def recognised(files: Iterable[str], layouts: Iterable[Layout]) -> Layout | None:
    """The first layout by which some pair is whole: both images and the first map."""
    files = list(files)
    for layout in layouts:
        needed = list(layout)[:3]
        if any(all(found.files[column] for column in needed) for found in pairs(files, layout)):
            return layout
    return None


def _regex(pattern: str) -> re.Pattern[str]:
    body = "".join(_PARTS.get(part, re.escape(part)) for part in re.split(r"(\{id\}|\{n\})", pattern))
    suffix = "" if pattern.lower().endswith(SUFFIXES) else f"(?:{'|'.join(map(re.escape, SUFFIXES))})"
    return re.compile(f"(?P<split>(?:{'|'.join(SPLIT_WORDS)})/)?{body}{suffix}", re.IGNORECASE)


def _filled(pattern: str, match: re.Match[str]) -> str:
    text = (match["split"] or "") + pattern.replace("{id}", match["id"])
    if "{n" in pattern:
        digits = match["n"]
        text = text.replace("{n}", digits).replace("{n+1}", str(int(digits) + 1).zfill(len(digits)))
    return text


def _stem(path: str) -> str:
    return path[: path.rindex(".")] if path.lower().endswith(SUFFIXES) else path
