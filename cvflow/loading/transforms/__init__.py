"""Sample -> Sample of the model's size: the recipe's random transforms, one file each, and the
deterministic Fit.

Random ones draw from torch's global generator, which the loader seeds per sample.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module

from cvflow.config import Image
from cvflow.loading.transforms.fit import Fit
from cvflow.types import Sample

Transform = Callable[[Sample], Sample]


def compose(image: Image, augment: Sequence[Transform]) -> Transform:
    """Return Fit, then the others in order; Fit comes last if one of them chooses the size itself
    (``resizes = True``).
    """
    # before the loader has processes, each of which would
    import_module("torchvision.transforms.v2")
    fit = Fit(image)
    resizes = any(getattr(transform, "resizes", False) for transform in augment)
    return Compose([*augment, fit] if resizes else [fit, *augment])


class Compose:
    """One transform after the other; a class, so that it crosses to other processes."""

    def __init__(self, transforms: Sequence[Transform]) -> None:
        self.transforms = tuple(transforms)

    def __call__(self, sample: Sample) -> Sample:
        for transform in self.transforms:
            sample = transform(sample)
        return sample
