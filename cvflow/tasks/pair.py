"""What stereo and flow share: two images in, a map of displacements at every pixel of the first out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from cvflow.annotations import KINDS
from cvflow.annotations.image import ImageFault, Pixels, decode
from cvflow.answers.displacement import DisplacementAnswer
from cvflow.tasks.base import BaseTask, View
from cvflow.types import Batch, Loss, Outputs, Prediction, Raw, Row, Sample

COARSER = 0.5
"""How much less each coarser map of a network counts in the loss than the next finer one."""


class PairTask(BaseTask):
    """The map's column is called as the answer, in rows and predictions."""

    answer: DisplacementAnswer

    def loss(self, predicted_BCHW: Tensor, true_BCHW: Tensor) -> Loss:
        """Return how far a map is off."""
        raise NotImplementedError

    def samples(self, row: Row) -> Iterable[Sample]:
        """The images and, if the row has them, its maps. ImageFault if the images differ in size."""
        pixels = {name: decode(row[name], max_megapixels=self.max_megapixels) for name in self.schema.images}
        check_sizes(pixels)
        images = {name: torch.from_numpy(image).permute(2, 0, 1) for name, image in pixels.items()}
        target = self._targets(row)
        yield Sample(row["id"], images, target, swaps=self.schema.swaps if target else {})

    def _targets(self, row: Row) -> dict[str, Tensor]:
        """Return the row's maps as tensors that transforms move with the images, CHW."""
        # torchvision takes two seconds to import, and half of the stages read no sample
        from cvflow.loading.map_tensors import TENSORS

        targets: dict[str, Tensor] = {}
        for name, kind in self.schema.kinds.items():
            if row.get(name) is not None:
                map_HWC = np.atleast_3d(KINDS[kind].decode(row[name]))
                map_CHW = torch.from_numpy(map_HWC).permute(2, 0, 1)
                targets[name] = TENSORS[kind](map_CHW)  # type: ignore[assignment]
        return targets

    def collate(self, samples: Sequence[Sample]) -> Batch:
        """The answer's map alone: what else a mirrored pair needed has done its work."""
        name = self.answer.name
        reduced = []
        for sample in samples:
            target = {name: sample.target[name]} if name in sample.target else {}
            reduced.append(sample.but(target=target))
        return super().collate(reduced)

    def outputs(self, model: nn.Module, batch: Batch) -> Outputs:
        """Return the network's maps, BCHW each, from the coarsest to the last, which is the answer."""
        return model(*(batch.images[name] for name in self.schema.images))

    def losses(self, outputs: Outputs, batch: Batch) -> dict[str, Loss]:
        true_BCHW = batch.targets[self.answer.name]
        losses = [self.loss(map_BCHW.float(), true_BCHW) for map_BCHW in outputs]
        weights = [COARSER**i for i in reversed(range(len(losses)))]
        weighted = [weight * loss.sum for weight, loss in zip(weights, losses, strict=True)]
        return {"loss": Loss(torch.stack(weighted).sum(), losses[-1].count)}

    def raw(self, outputs: Outputs, batch: Batch) -> Raw:
        """Return the last map, BCHW, in pixels of the model's size."""
        return {self.answer.name: outputs[-1].float()}

    def merge(self, raws: Sequence[Raw], views: Sequence[View]) -> Raw:
        """Average, each in the pixels of the whole image and not in those of what the view enlarged
        or mirrored.
        """
        name = self.answer.name
        in_whole = []
        for raw, view in zip(raws, views, strict=True):
            in_whole.append({name: view.place.vectors_back(raw[name])})
        return super().merge(in_whole, views)

    def decode(self, raw: Raw, batch: Batch) -> list[Prediction]:
        """At the originals' size, in their pixels."""
        name = self.answer.name
        predictions = []
        for id, map_CHW, place in zip(batch.ids, raw[name].cpu(), batch.placed, strict=True):
            original_CHW = place.vectors_back(place.map(map_CHW))
            data = self.answer.encode(original_CHW.permute(1, 2, 0).numpy())
            predictions.append(Prediction(id, {name: data}))
        return predictions


def check_sizes(pixels: dict[str, Pixels]) -> None:
    """ImageFault if the images of a row differ in size."""
    sizes = sorted({image.shape[:2] for image in pixels.values()})
    if len(sizes) > 1:
        listed = ", ".join(f"{width}x{height}" for height, width in sizes)
        raise ImageFault(f"{' and '.join(pixels)} of different sizes: {listed}")
