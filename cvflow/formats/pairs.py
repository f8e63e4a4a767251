"""Two images of one scene with their disparity or flow, in the field's layouts or by path patterns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from cvflow.annotations import disparity, flow
from cvflow.annotations.files import arrays, flo, kitti, pfm
from cvflow.annotations.image import ImageFault
from cvflow.errors import Fault, RequestError
from cvflow.formats.built_in.textured_layers import Pairs as Kind
from cvflow.formats.reading.pair_files import (
    MAP_SUFFIXES,
    PairFiles,
    files_below,
    looks_like_pairs,
    near_miss,
    pairs,
    recognised,
)
from cvflow.formats.reading.pair_layouts import FLOW, STEREO, Layout
from cvflow.formats.reading.trees import Tree, open_tree
from cvflow.formats.record import Confidence, Format, Guess, Record
from cvflow.registry import register

LAYOUTS: Mapping[Kind, tuple[Layout, ...]] = {"stereo": STEREO, "flow": FLOW}
COLUMNS: Mapping[Kind, tuple[str, ...]] = {
    "stereo": ("left", "right", "disparity", "disparity_right"),
    "flow": ("first", "second", "flow"),
}
Pattern = Annotated[str, Field(pattern=r"\{id\}")]


@register("format", "pairs")
class Pairs(Format):
    """A folder or zip with left/, right/ and disparity/ (disparity_right/ too), or first/, second/
    and flow/, as KITTI, Middlebury, Sintel and Flying Chairs have them, or as patterns say:
    left: ``{id}_left.png``. ``{id}`` is any path, ``{n}`` a number, ``{n+1}`` the next.

    pairs: stereo or flow, where the source has both. scale: what a disparity's PNG is divided by,
    256 for KITTI's 16 bits. Maps are PFM, .flo, KITTI's PNG, .npz or .npy; infinite = unknown.
    """

    gives = frozenset({"disparity", "disparity_right", "flow"})
    looks_for = (
        "left/, right/ and disparity/, or first/, second/ and "
        "flow/ (and layouts of KITTI, Middlebury, Sintel)"
    )

    def __init__(
        self,
        source: Path | None,
        *,
        pairs: Kind | None = None,
        left: Pattern | None = None,
        right: Pattern | None = None,
        disparity: Pattern | None = None,
        disparity_right: Pattern | None = None,
        first: Pattern | None = None,
        second: Pattern | None = None,
        flow: Pattern | None = None,
        scale: Annotated[float, Field(gt=0)] | None = None,
    ) -> None:
        given = {
            "left": left,
            "right": right,
            "disparity": disparity,
            "disparity_right": disparity_right,
            "first": first,
            "second": second,
            "flow": flow,
        }
        self.classes: tuple[str, ...] = ()
        self.tree: Tree = open_tree(source, "folders of two images and their map")
        self._files, self._scale = list(files_below(self.tree)), scale
        self.layout = self._given({k: v for k, v in given.items() if v}, pairs) or self._recognised(pairs)

    @classmethod
    def guess(cls, source: Path) -> Guess:
        if looks_like_pairs(source):
            return Guess(Confidence.LIKELY)
        return Guess(Confidence.NONE, near_miss=near_miss(source))

    def __iter__(self) -> Iterator[Record]:
        for pair in pairs(self._files, self.layout):
            first, second, *maps = self.layout
            images = {name: self._reader(pair, name) for name in (first, second)}
            read = {
                name: partial(self._map, pair, name) for name in maps if pair.files[name] or name == maps[0]
            }
            files = {name: path for name, path in pair.files.items() if path}
            yield Record(
                pair.id,
                files[first],
                images,
                {},
                pair.split,
                pair.group,
                maps=read,
                files=files,
            )

    def skipped(self) -> Iterator[tuple[str, str]]:
        used = {path for pair in pairs(self._files, self.layout) for path in pair.files.values()}
        folders = {path.rpartition("/")[0] for path in used if path}
        yield from (
            (path, "belongs to no pair")
            for path in self._files
            if path not in used and path.rpartition("/")[0] in folders
        )

    def _given(self, given: Layout, kind: Kind | None) -> Layout | None:
        """The patterns of the options, where there are any."""
        if not given:
            return None
        kind = kind or ("flow" if "flow" in given else "stereo")
        columns = COLUMNS[kind]
        faults = [
            *(
                Fault("data.format", f"no pattern for '{name}'", ", ".join(columns[:3]))
                for name in columns[:3]
                if name not in given
            ),
            *(
                Fault(f"data.format.{name}", f"a pattern in a layout of {kind}", ", ".join(columns))
                for name in given
                if name not in columns
            ),
        ]
        if faults:
            raise RequestError(*faults)
        layout = {name: given[name] for name in columns if name in given}
        if not any(True for _ in pairs(self._files, layout)):
            got = (
                f"no file like {layout[columns[0]]} among "
                f"{len(self._files)}, the first of them {self._files[:3]}"
            )
            raise RequestError(
                Fault(
                    str(self.tree.source),
                    got,
                    f"a {columns[0]} image for each pair",
                    f"Mend data.format.{columns[0]}.",
                )
            )
        return layout

    def _recognised(self, kind: Kind | None) -> Layout:
        layout = recognised(self._files, LAYOUTS[kind] if kind else (*STEREO, *FLOW))
        if layout is None:
            fix = (
                "Or type patterns: data.format.left={id}_left.png "
                "data.format.right=... data.format.disparity=..."
            )
            got = (
                f"no two images with a map among {len(self._files)} "
                f"files, the first of them {self._files[:3]}"
            )
            raise RequestError(
                Fault(str(self.tree.source), got, "left/, right/, disparity/, or first/, second/, flow/", fix)
            )
        return layout

    def _reader(self, pair: PairFiles, name: str) -> Callable[[], bytes]:
        path = pair.files[name]
        return partial(self.tree.read, path) if path else partial(_absent, name, self.layout[name], pair.id)

    def _map(self, pair: PairFiles, name: str) -> bytes:
        """The canonical bytes. Raises ImageFault."""
        path = pair.files[name]
        if path is None:
            return _absent(name, self.layout[name], pair.id)
        data = self.tree.read(path)
        return (
            flow.encode(read_flow(path, data))
            if name == "flow"
            else disparity.encode(read_disparity(path, data, self._scale))
        )


def read_disparity(path: str, data: bytes, scale: float | None = None) -> NDArray[np.float32]:
    """HxW, NaN = unknown, by the file's suffix. Raises ImageFault."""
    match _suffix(path):
        case ".pfm":
            array = pfm.read(data)
        case ".png":
            return kitti.read_disparity(data) * np.float32(kitti.DISPARITY_STEPS / scale if scale else 1)
        case ".npz" | ".npy":
            array = arrays.read(data, "disparity").astype(np.float32)
        case suffix:
            raise _unread(suffix)
    array = array[..., 0] if array.ndim == 3 and array.shape[2] in (1, 3) else array
    return np.where(np.isinf(array), np.float32(np.nan), array)


def read_flow(path: str, data: bytes) -> NDArray[np.float32]:
    """HxWx2, NaN = unknown, by the file's suffix; of a PFM the first two of three channels.

    Raises ImageFault.
    """
    match _suffix(path):
        case ".flo":
            return flo.read(data)
        case ".png":
            return kitti.read_flow(data)
        case ".pfm":
            array = pfm.read(data)
            array = array[..., :2] if array.ndim == 3 else array
        case ".npz" | ".npy":
            array = arrays.read(data, "flow").astype(np.float32)
        case suffix:
            raise _unread(suffix)
    return np.where(np.isinf(array), np.float32(np.nan), array)


def _suffix(path: str) -> str:
    return f".{path.lower().rpartition('.')[2]}"


def _unread(suffix: str) -> ImageFault:
    return ImageFault(f"a map as '{suffix}', expected one of {', '.join(MAP_SUFFIXES)}")


def _absent(name: str, pattern: str, id: str) -> bytes:
    raise ImageFault(f"no {name}: expected {pattern.replace('{id}', id)}")
