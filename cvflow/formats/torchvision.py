"""Any class of torchvision.datasets whose items are images with a class or a mask, or pairs of
images with disparity or flow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from cvflow.errors import Fault, RequestError
from cvflow.formats.image_mask import Void
from cvflow.formats.reading.mask_legend import Reading
from cvflow.formats.reading.torchvision_classes import MARKS, class_names, mask_values
from cvflow.formats.reading.torchvision_items import IMAGES, SHAPES, image, map_of
from cvflow.formats.reading.torchvision_splits import Part, Splits
from cvflow.formats.record import Confidence, Format, Guess, Record
from cvflow.registry import register

ClassNames = Annotated[tuple[Annotated[str, Field(coerce_numbers_to_str=True)], ...], Field(min_length=2)]


@register("format", "torchvision")
class TorchVision(Format):
    """The source is the dataset's root. download: fetch it into torch's own cache, where there is no source.

    dataset: the class's name, as MNIST. options: its further arguments, as {split: letters} for
    EMNIST. Items are (image, class), (image, mask), (left, right, disparity) or (first, second,
    flow). Splits are those that the class has as train, val and test; one whose truth is kept back,
    or whose files are not there, is passed over and named. identities: the classes are identities.
    classes: of the values 0, 1, ... in masks; else VOC, SBD, Cityscapes and Oxford's pets have
    their makers' names. void: values or names that count for nothing. Images keep their file's
    bytes where the dataset lists files, else they become PNG. CIFAR's own files are pickles:
    reading them runs what is in them.
    """

    gives = frozenset(SHAPES)

    def __init__(
        self,
        source: Path | None,
        *,
        dataset: str,
        download: bool = False,
        options: Mapping[str, Any] = {},  # noqa: B006
        identities: bool = False,
        classes: ClassNames | None = None,
        void: Void = (),
    ) -> None:
        self._name, self._splits = dataset, Splits(dataset, source, download, options)
        self._kind, self._who = self._splits.parts[0].kind, identities
        reserved_options = {
            "identities": (identities, "label"),
            "classes": (classes, "mask"),
            "void": (void, "mask"),
        }
        if strange := [
            key
            for key, (value, kind) in reserved_options.items()
            if value not in (None, False, ()) and kind != self._kind
        ]:
            expected = f"no such option for items that are {SHAPES[self._kind]}"
            raise RequestError(*(Fault(f"data.format.{key}", "a value", expected) for key in strange))
        self._reading: Reading | None = None
        self.classes = self._names(classes, (void,) if isinstance(void, int | str) else void)

    @classmethod
    def guess(cls, source: Path) -> Guess:
        for mark, name in MARKS.items():
            if (source / mark).exists():
                return Guess(Confidence.CERTAIN, {"dataset": name})
        return Guess(Confidence.NONE)

    def __iter__(self) -> Iterator[Record]:
        for part in self._splits.parts:
            named, in_folders = part.named(), part.in_folders()
            for i in part.order():
                name = f"{part.split or self._name}-{i:06d}.png"
                if named:
                    name = f"{part.split or ''}/{self._below(part.files[i][0])}".lstrip("/")
                yield self._record(
                    name, part, i, self._below(str(Path(part.files[i][0]).parent)) if in_folders else None
                )

    def skipped(self) -> Iterator[tuple[str, str]]:
        yield from self._splits.passed

    def _record(self, name: str, part: Part, i: int, folder: str | None) -> Record:
        columns = IMAGES[part.kind]
        read: dict[str, Callable[[], bytes]] = {
            c: partial(image, part.items, i, k) for k, c in enumerate(columns)
        }
        if part.files:
            read = {c: Path(path).read_bytes for c, path in zip(columns, part.files[i], strict=True)}
        if part.kind != "label":
            maps: Mapping[str, Callable[[], bytes]] = {
                part.kind: partial(map_of, part.items, i, part.kind, self._reading)
            }
            return Record(name, name, read, {}, part.split, folder, maps=maps)
        label = int(part.labels[i])
        if self._who:
            return Record(name, name, read, {"identity": label}, part.split, self.classes[label])
        return Record(name, name, read, {"label": label}, part.split)

    def _names(self, classes: Sequence[str] | None, void: Sequence[int | str]) -> tuple[str, ...]:
        """The classes; of masks, the way of reading them too."""
        items = self._splits.parts[0].items
        if len(IMAGES[self._kind]) > 1:
            return ()
        if self._kind == "mask":
            self._reading = mask_values(self._name, items, classes, void)
            class_values = self._reading.classes
        else:
            class_values = class_names(
                items, 1 + max(int(max(part.labels)) for part in self._splits.parts), self._splits.options
            )
        if len(class_values) < 2:
            raise RequestError(
                Fault("data.format.dataset", f"{self._name} with {len(class_values)} classes", "at least two")
            )
        return class_values

    def _below(self, path: str) -> str:
        root = self._splits.root
        return Path(path).relative_to(root).as_posix() if root and Path(path).is_relative_to(root) else path
