"""Any class of torchvision.datasets whose items are (image, class)."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from cvflow.data.images import encode_png
from cvflow.data.records import Format, Record
from cvflow.errors import Fault, RequestError, did_you_mean, one_of
from cvflow.registry import register
from cvflow.types import Split

MARKS = {
    "cifar-10-batches-py": "CIFAR10",
    "cifar-100-python": "CIFAR100",
    "MNIST/raw": "MNIST",
    "FashionMNIST/raw": "FashionMNIST",
    "KMNIST/raw": "KMNIST",
    "flowers-102": "Flowers102",
    "food-101": "Food101",
    "oxford-iiit-pet": "OxfordIIITPet",
    "dtd": "DTD",
    "gtsrb": "GTSRB",
    "stl10_binary": "STL10",
    "eurosat": "EuroSAT",
    "caltech101": "Caltech101",
    "train_32x32.mat": "SVHN",
    "usps.bz2": "USPS",
}
"""What lies in the root of a dataset -> its class."""
_WORDS: Mapping[Split, tuple[str, ...]] = {"train": ("train", "trainval"), "val": ("val", "valid", "validation"), "test": ("test",)}


class Part(NamedTuple):
    """One split as torchvision opens it. files: of each item, where the dataset lists them."""

    split: Split | None
    items: Any
    labels: Sequence[int]
    files: Sequence[str] | None


@register("format", "torchvision")
class TorchVision(Format):
    """The source is the dataset's root. download: fetch it into torch's own cache, where there is no source.

    dataset: the class's name, as MNIST. options: its further arguments, as {split: letters} for EMNIST. Images keep their file's bytes
    where the dataset lists files, else they become PNG. CIFAR's own files are pickles: reading them runs what is in them.
    """

    def __init__(self, source: Path | None, *, dataset: str, download: bool = False, options: Mapping[str, Any] = {}) -> None:  # noqa: B006
        self._name, self._kind = dataset, _dataset_class(dataset)
        self._accepted = _parameters(self._kind)
        self._given = dict(options)
        self._place(source, download)
        self._parts = self._opened()
        self.classes = self._names()
        if len(self.classes) < 2:
            raise RequestError(Fault("data.format.dataset", f"{dataset} with {len(self.classes)} classes", "at least two"))

    by_mark = True

    @classmethod
    def guess(cls, source: Path) -> Mapping[str, Any] | None:
        return next(({"dataset": name} for mark, name in MARKS.items() if (source / mark).exists()), None)

    def __iter__(self) -> Iterator[Record]:
        for part in self._parts:
            for i, label in enumerate(part.labels):
                name = f"{part.split or self._name}-{i:06d}.png"
                read: Callable[[], bytes] = partial(_png, part.items, i)
                if part.files:
                    name, read = f"{part.split or ''}/{_below(part.files[i], self._root)}".lstrip("/"), Path(part.files[i]).read_bytes
                yield Record(name, name, {"image": read}, {"label": int(label)}, part.split)

    def _place(self, source: Path | None, download: bool) -> None:
        """Where the files are, or go."""
        self._root = source
        if "root" not in self._accepted:
            return
        if source is not None and download:
            got = "both a source, which is only read, and download"
            raise RequestError(Fault("data.format.download", got, "one of them", "Remove data.source to download."))
        if source is None:
            if not download:
                fix = "Type data.source=<its root>, or data.format.download=true."
                raise RequestError(Fault("data.source", "nothing", f"the root of {self._name}", fix))
            import torch

            self._root = Path(torch.hub.get_dir()).parent / "datasets"
        self._given["root"] = str(self._root)
        if download and "download" in self._accepted:
            self._given["download"] = True

    def _opened(self) -> list[Part]:
        """The splits that the class knows, by its signature."""
        if "train" in self._accepted:
            return [self._part("train", train=True), self._part("test", train=False)]
        if "split" not in self._accepted or "split" in self._given:
            return [self._part(None)]
        found = [part for split, words in _WORDS.items() if (part := self._by_word(split, words))]
        if "train" not in {part.split for part in found}:
            raise RequestError(Fault("data.format.dataset", f"{self._name}, whose splits have other names", "train, val, test"))
        return found

    def _by_word(self, split: Split, words: Sequence[str]) -> Part | None:
        for word in words:
            try:
                return self._part(split, split=word)
            except ValueError:  # not one of its words
                continue
        return None

    def _part(self, to: Split | None, /, **chosen: Any) -> Part:
        try:
            items = self._kind(**self._given, **chosen)
        except (RuntimeError, OSError) as error:
            fix = f"Look at data.source, or download: https://pytorch.org/vision/stable/generated/torchvision.datasets.{self._name}.html"
            raise RequestError(Fault("data.source", f"{self._root}: {error}", f"the files of {self._name}", fix)) from error
        except (TypeError, ModuleNotFoundError) as error:
            raise RequestError(Fault("data.format.options", f"{error}", f"what torchvision.datasets.{self._name} takes")) from error
        if not len(items):
            raise RequestError(Fault("data.source", f"{self._name} with no items", "images"))
        _check_item(self._name, items[0])
        return Part(to, items, _labels(items), _files(items))

    def _names(self) -> tuple[str, ...]:
        """As the dataset names its classes, else 0 to the greatest label."""
        count = 1 + max(int(max(part.labels)) for part in self._parts)
        named = getattr(self._parts[0].items, "classes", None) or ()
        return tuple(map(_plain, named)) if len(named) >= count else tuple(map(str, range(count)))


def _dataset_class(name: str) -> type:
    from torchvision import datasets  # three seconds, for those who use it

    known = [n for n in datasets.__all__ if inspect.isclass(getattr(datasets, n))]
    if name not in known:
        raise RequestError(Fault("data.format.dataset", f"'{name}'", one_of(known), did_you_mean(name, known)))
    return getattr(datasets, name)  # type: ignore[no-any-return]


def _parameters(kind: type) -> set[str]:
    """What its constructor takes, and where it hands on the rest, those of the classes that it is made from."""
    own = inspect.signature(kind).parameters
    hands_on = any(p.kind is p.VAR_KEYWORD for p in own.values())
    kinds = inspect.getmro(kind) if hands_on else (kind,)
    return {name for k in kinds if k is not object for name in inspect.signature(k).parameters}


def _check_item(name: str, item: Any) -> None:
    fits = isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], Image.Image) and _is_label(item[1])
    if not fits:
        kinds = ", ".join(type(part).__name__ for part in item) if isinstance(item, tuple) else type(item).__name__
        raise RequestError(Fault("data.format.dataset", f"{name}, whose items are ({kinds})", "a dataset of (image, class)"))


def _is_label(value: Any) -> bool:
    return isinstance(value, int | np.integer) or (hasattr(value, "item") and getattr(value, "ndim", 1) == 0)


def _labels(items: Any) -> Sequence[int]:
    """All labels: as the dataset lists them where that agrees with its items, else from the items one by one."""
    probes = sorted({0, len(items) // 2, len(items) - 1})
    for name in ("targets", "labels", "_labels"):
        listed = getattr(items, name, None)
        if listed is not None and len(listed) == len(items) and all(_same(listed[i], items[i][1]) for i in probes):
            return [int(label) for label in listed]
    return [int(items[i][1]) for i in range(len(items))]


def _same(listed: Any, label: Any) -> bool:
    return _is_label(listed) and int(listed) == int(label)


def _files(items: Any) -> Sequence[str] | None:
    """Paths of the items' files, from ``samples`` of (path, class)."""
    samples = getattr(items, "samples", None)
    if not isinstance(samples, list) or len(samples) != len(items) or not all(isinstance(s, tuple) and len(s) == 2 for s in samples):
        return None
    return [str(path) for path, _ in samples]


def _png(items: Any, index: int) -> bytes:
    image: Image.Image = items[index][0]
    return encode_png(np.asarray(image if image.mode in ("L", "RGB") else image.convert("RGB")))


def _below(path: str, root: Path | None) -> str:
    return Path(path).relative_to(root).as_posix() if root and Path(path).is_relative_to(root) else path


def _plain(name: Any) -> str:
    return " / ".join(map(str, name)) if isinstance(name, tuple | list) else str(name)
