"""Embedding: a vector for each image, near to those of the same identity and far from all others."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cvflow.annotations.image import decode
from cvflow.config import Recipe
from cvflow.errors import Fault, RequestError
from cvflow.loading.loader import seed_of
from cvflow.loading.samplers import Sampler
from cvflow.losses.pairs import pairs_of
from cvflow.metrics.embedding import EmbeddingMetric
from cvflow.ops.gather import over_ranks
from cvflow.registry import Component, Kind, build, check, register
from cvflow.tasks.base import BaseTask, Metric, sampled
from cvflow.tasks.refusals import unmixable
from cvflow.tasks.starter import Seen, Starter, large
from cvflow.types import Batch, DatasetInfo, Loss, Objective, Prediction, Raw, Row, Sample, Schema

SAMPLER, IDENTITY = "identities", "identity"
CHANCE_DIM = 32


@register("task", "embedding")
class Embedding(BaseTask):
    """Rows carry ``identity``, its index; predictions give ``embedding``. A split's identities need not be in another.

    loss: what draws the vectors of an identity together; it compares every two images of a batch, over all workers. Of parts
    (train.accumulate) it compares those within each part. Batches hold several images of each identity: see the sampler identities.
    """

    schema = Schema(images=("image",), annotations={"identity": "int32"}, identity="identity")
    answers: Mapping[str, str] = {"embedding": "list<float>"}
    answer, usual_model = "embedding", "embedder"
    compared_by = "embedding"

    def __init__(self, *, loss: Annotated[Component, Kind("pair_loss")] = Component(name="triplet")) -> None:  # noqa: B008, it is frozen
        self.loss = build("pair_loss", loss)

    def objective(self, cfg: Recipe) -> Objective:
        return Objective("recall_at_1", "max")

    def faults(self, cfg: Recipe) -> list[Fault]:
        faults = [*super().faults(cfg), *unmixable(cfg, IDENTITY)]
        if cfg.train.sampler and check("sampler", cfg.train.sampler, "train.sampler")[1]:
            return faults
        try:
            sampled(cfg, SAMPLER, IDENTITY)
        except RequestError as error:
            faults += error.faults
        return faults

    def samples(self, row: Row) -> Iterable[Sample]:
        image = torch.from_numpy(decode(row["image"], max_megapixels=self.max_megapixels)).permute(2, 0, 1)
        yield Sample(
            row["id"],
            {"image": image},
            {"identity": torch.tensor(row["identity"])} if "identity" in row else {},
        )

    def sampler(self, cfg: Recipe, info: DatasetInfo) -> Sampler:
        return sampled(cfg, SAMPLER, IDENTITY)

    def losses(self, model: nn.Module, batch: Batch) -> dict[str, Loss]:
        """Of this rank's images, each compared with those of all ranks."""
        own_BD = model(batch.images["image"])
        all_MD, first = over_ranks(own_BD)
        identity_M, _ = over_ranks(batch.targets["identity"][:, None])
        return self._losses(own_BD, all_MD, batch.targets["identity"], identity_M[:, 0], first)

    def _losses(
        self, own_BD: Tensor, all_MD: Tensor, identity_B: Tensor, identity_M: Tensor, first: int
    ) -> dict[str, Loss]:
        losses: dict[str, Loss] = self.loss(pairs_of(own_BD, all_MD, identity_B, identity_M, first))
        return losses

    def forward(self, model: nn.Module, batch: Batch) -> Raw:
        """``embedding`` B x dim."""
        return {"embedding": model(batch.images["image"])}

    def measure(self, model: nn.Module, batch: Batch) -> tuple[dict[str, Loss], Raw]:
        """Losses within the batch: ranks measure different numbers of them. One without two images of an identity counts for nothing."""
        raw, identity_B = self.forward(model, batch), batch.targets["identity"]
        return self._losses(raw["embedding"], raw["embedding"], identity_B, identity_B, 0), raw

    def merge(self, raws: Sequence[Raw], views: Sequence[Any]) -> Raw:
        """The mean direction, a unit vector again."""
        return {"embedding": F.normalize(super().merge(raws, views)["embedding"], dim=1)}

    def decode(self, raw: Raw, batch: Batch) -> list[Prediction]:
        return [
            Prediction(id, {"embedding": v})
            for id, v in zip(batch.ids, raw["embedding"].float().cpu().tolist(), strict=True)
        ]

    def metric(self, info: DatasetInfo) -> Metric:
        return EmbeddingMetric(info.classes)

    def starter(self, seen: Seen) -> Starter:
        """A batch holds at most half of the identities: the others may be for val and test."""
        images, identities = 4, min(8, max(2, seen.classes // 2))
        return {
            "model": {"name": "embedder", "backbone": "conv4" if seen.small else large(), "dim": 64},
            "train": {
                "batch_size": images * identities,
                "sampler": {"name": SAMPLER, "images": images},
                "optimizer": {"name": "adamw", "lr": 0.002},
                "augment": [seen.shift()],
            },
        }

    def guess(self, train: Iterable[Row]) -> Callable[[Sample], Mapping[str, Any]]:
        """A direction for each image, drawn by its id: neighbours are found by chance."""
        return lambda sample: {
            "embedding": np.random.default_rng(seed_of(sample.id)).standard_normal(CHANCE_DIM).tolist()
        }

    def quality(self, prediction: Prediction, target: Mapping[str, Any]) -> float:
        """NaN: one vector alone is neither good nor bad."""
        return math.nan

    def caption(self, values: Mapping[str, Any]) -> str:
        if "identity" in values:
            return self.info.classes[int(values["identity"])]
        return f"{len(values['embedding'])} numbers"
