"""What is known of torchvision's dataset classes: how their roots look, what their masks show, which options their items need."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from cvflow.errors import Fault, RequestError, did_you_mean, one_of
from cvflow.formats.reading.mask_legend import ByIndex, by_index

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
    "leftImg8bit": "Cityscapes",
    "KittiFlow": "KittiFlow",
    "FlyingChairs/FlyingChairs_train_val.txt": "FlyingChairs",
    "Sintel/training/flow": "Sintel",
    "hd1k": "HD1K",
    "FlyingThings3D/optical_flow": "FlyingThings3D",
    "Kitti2012": "Kitti2012Stereo",
    "Kitti2015": "Kitti2015Stereo",
    "Sintel/training/disparities": "SintelStereo",
    "Middlebury2014": "Middlebury2014Stereo",
    "InStereo2k": "InStereo2k",
    "ETH3D": "ETH3DStereo",
    "carla-highres": "CarlaStereo",
}
"""What lies in the root of a dataset -> its class."""
OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "Cityscapes": {"target_type": "semantic"},
    "SBDataset": {"mode": "segmentation"},
}
"""Of classes whose items fit nothing without."""
SPLIT_KEYS = ("split", "image_set")


class Values(NamedTuple):
    """What the values of a mask are called. void: names that count for nothing."""

    names: Sequence[str]
    values: Sequence[int]
    void: Collection[str] = ()


_VOC = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog", "horse",
    "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
_MASKS: Mapping[str, Values] = {
    "VOCSegmentation": Values(_VOC, range(len(_VOC))),
    "SBDataset": Values(_VOC, range(len(_VOC))),
    "OxfordIIITPet": Values(("pet", "background", "not classified"), (1, 2, 3), ("not classified",)),
}
"""As their makers publish them (Everingham et al. 2010; Hariharan et al. 2011; Parkhi et al. 2012)."""


def dataset_class(name: str) -> type:
    """RequestError where torchvision has none of that name."""
    from torchvision import datasets  # three seconds, for those who use it

    known = [n for n in datasets.__all__ if inspect.isclass(getattr(datasets, n))]
    if name not in known:
        raise RequestError(
            Fault("data.format.dataset", f"'{name}'", one_of(known), did_you_mean(name, known))
        )
    return getattr(datasets, name)  # type: ignore[no-any-return]


def parameters(kind: type) -> set[str]:
    """What its constructor takes, and where it hands on the rest, those of the classes that it is made from."""
    own = inspect.signature(kind).parameters
    hands_on = any(p.kind is p.VAR_KEYWORD for p in own.values())
    kinds = inspect.getmro(kind) if hands_on else (kind,)
    return {name for k in kinds if k is not object for name in inspect.signature(k).parameters}


def class_names(items: Any, count: int, options: Mapping[str, Any]) -> tuple[str, ...]:
    """As the dataset names its classes, else 0, 1, ...; count: how many there are."""
    two_kinds = options.get("target_types") == "binary-category"  # of OxfordIIITPet
    named = getattr(items, "bin_classes" if two_kinds else "classes", None) or ()
    return tuple(map(_plain, named)) if len(named) >= count else tuple(map(str, range(count)))


def mask_values(name: str, items: Any, classes: Sequence[str] | None, void: Collection[int | str]) -> ByIndex:
    """How the dataset's masks are read. classes: of 0, 1, ..., where the user names them. RequestError where nothing does.

    Cityscapes' classes say themselves which count for nothing (Cordts et al. 2016, arXiv 1604.01685).
    """
    own = getattr(items, "classes", None) or ()
    if classes is not None:
        found = Values(classes, range(len(classes)))
    elif name in _MASKS:
        found = _MASKS[name]
    elif own and hasattr(own[0], "ignore_in_eval"):
        kept = [c for c in own if c.id >= 0]
        found = Values(
            [c.name for c in kept], [c.id for c in kept], [c.name for c in kept if c.ignore_in_eval]
        )
    else:
        raise RequestError(
            Fault(
                "data.format.classes", "nothing", f"the names of the values 0, 1, ... in the masks of {name}"
            )
        )
    return by_index(found.values, found.names, [*found.void, *void])


def _plain(name: Any) -> str:
    return " / ".join(map(str, name)) if isinstance(name, tuple | list) else str(name)
