"""Facts about torchvision's dataset classes: their roots, their masks, the options that items need."""

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
"""A file or folder in the root of a dataset -> its class."""
OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "Cityscapes": {"target_type": "semantic"},
    "SBDataset": {"mode": "segmentation"},
}
"""Class -> the options without which its items have no known form."""
SPLIT_KEYS = ("split", "image_set")


class Values(NamedTuple):
    """The values of a mask and the names of their classes. void: names that count for nothing."""

    names: Sequence[str]
    values: Sequence[int]
    void: Collection[str] = ()


_VOC = (
    "background",
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)
_MASKS: Mapping[str, Values] = {
    "VOCSegmentation": Values(_VOC, range(len(_VOC))),
    "SBDataset": Values(_VOC, range(len(_VOC))),
    "OxfordIIITPet": Values(("pet", "background", "not classified"), (1, 2, 3), ("not classified",)),
}
"""As their makers publish them (Everingham et al. 2010; Hariharan et al. 2011; Parkhi et al. 2012)."""


def dataset_class(name: str) -> type:
    """Return torchvision's class; RequestError if it has none of that name."""
    # Imported here, because it takes three seconds.
    from torchvision import datasets

    classes = {}
    for class_name in datasets.__all__:
        value = getattr(datasets, class_name)
        if inspect.isclass(value):
            classes[class_name] = value
    if name not in classes:
        fix = did_you_mean(name, classes)
        raise RequestError(Fault("data.format.dataset", f"'{name}'", one_of(classes), fix))
    return classes[name]


def parameters(kind: type) -> set[str]:
    """Return the parameters of the constructor, with those of the base classes if it passes on the rest."""
    parameters = inspect.signature(kind).parameters
    passes_on = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    if not passes_on:
        return set(parameters)
    names: set[str] = set()
    for base in inspect.getmro(kind):
        if base is not object:
            names.update(inspect.signature(base).parameters)
    return names


def class_names(items: Any, count: int, options: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the dataset's own names of its classes, else 0, 1, .... count: how many classes there are."""
    # OxfordIIITPet has two kinds of classes: breeds, or cat and dog.
    binary = options.get("target_types") == "binary-category"
    names = getattr(items, "bin_classes" if binary else "classes", None) or ()
    if len(names) < count:
        names = range(count)
    return tuple(map(_plain, names))


def mask_values(name: str, items: Any, classes: Sequence[str] | None, void: Collection[int | str]) -> ByIndex:
    """Return how the dataset's masks are read; RequestError if nothing names their values.

    classes: names of the values 0, 1, ... by the user.
    """
    values = _values(name, items, classes)
    if values is None:
        expected = f"the names of the values 0, 1, ... in the masks of {name}"
        raise RequestError(Fault("data.format.classes", "nothing", expected))
    return by_index(values.values, values.names, [*values.void, *void])


def _values(name: str, items: Any, classes: Sequence[str] | None) -> Values | None:
    if classes is not None:
        return Values(classes, range(len(classes)))
    if name in _MASKS:
        return _MASKS[name]
    described = getattr(items, "classes", None) or ()
    if described and hasattr(described[0], "ignore_in_eval"):
        return _cityscapes_values(described)
    return None


def _cityscapes_values(classes: Sequence[Any]) -> Values:
    """Cityscapes' classes say themselves which count for nothing (Cordts et al. 2016, arXiv 1604.01685)."""
    names = []
    values = []
    void = []
    for item in classes:
        if item.id < 0:
            continue
        names.append(item.name)
        values.append(item.id)
        if item.ignore_in_eval:
            void.append(item.name)
    return Values(names, values, void)


def _plain(name: Any) -> str:
    """Return a name as text. ImageNet's classes have several names each."""
    if isinstance(name, tuple | list):
        return " / ".join(map(str, name))
    return str(name)
