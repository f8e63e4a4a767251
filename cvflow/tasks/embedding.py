"""Embedding: a vector for each image, near to those of the same identity and far from all others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cvflow.answers.vector import VectorAnswer
from cvflow.losses.pairs import pairs_of
from cvflow.ops.gather import over_ranks
from cvflow.registry import Component, Kind, build, register
from cvflow.tasks.base import BaseTask, View, read_image
from cvflow.types import Batch, Loss, Outputs, Prediction, Raw, Row, Sample, Schema


class EmbeddingOutputs(NamedTuple):
    """The vectors of a batch, and those that they are compared with.

    embedding: B x D. compared_with: M x D. identity: of the others, M, an index. first: the place of the
    batch's first one among them.
    """

    embedding: Tensor
    compared_with: Tensor
    identity: Tensor | None
    first: int


@register("task", "embedding")
class Embedding(BaseTask):
    """Rows carry ``identity``, its index; predictions give ``embedding``.

    A split's identities need not be in another.

    loss: what draws the vectors of an identity together; it compares every two images of a batch,
    over all workers. Of parts (train.accumulate) it compares those within each part. Batches hold
    several images of each identity: see the sampler identities.
    """

    schema = Schema(images=("image",), annotations={"identity": "int32"}, identity="identity")
    usual_model = "embedder"
    default_sampler = "identities"

    def __init__(
        self,
        *,
        loss: Annotated[Component, Kind("pair_loss")] = Component(name="triplet"),  # noqa: B008, it is frozen
    ) -> None:
        self.answer = VectorAnswer()
        self.loss = build("pair_loss", loss)

    def samples(self, row: Row) -> Iterable[Sample]:
        image = read_image(row["image"], self.max_megapixels)
        target = {"identity": torch.tensor(row["identity"])} if "identity" in row else {}
        yield Sample(row["id"], {"image": image}, target)

    def outputs(self, model: nn.Module, batch: Batch) -> Outputs:
        """Return the ``EmbeddingOutputs``: in training compared over all ranks, otherwise within the batch.

        In evaluation ranks measure different numbers of batches, so they must not wait for each other.
        """
        embedding_BD = model(batch.images["image"])
        identity_B = batch.targets.get("identity")
        if not model.training or identity_B is None:
            return EmbeddingOutputs(embedding_BD, embedding_BD, identity_B, 0)
        all_MD, first = over_ranks(embedding_BD)
        identity_M1, _ = over_ranks(identity_B[:, None])
        return EmbeddingOutputs(embedding_BD, all_MD, identity_M1[:, 0], first)

    def losses(self, outputs: Outputs, batch: Batch) -> dict[str, Loss]:
        """Each image of the batch compared with the others.

        A batch without two images of an identity counts for nothing.
        """
        identity_B = batch.targets["identity"]
        pairs = pairs_of(
            outputs.embedding, outputs.compared_with, identity_B, outputs.identity, outputs.first
        )
        losses: dict[str, Loss] = self.loss(pairs)
        return losses

    def raw(self, outputs: Outputs, batch: Batch) -> Raw:
        """Return ``embedding``, B x D."""
        return {"embedding": outputs.embedding}

    def merge(self, raws: Sequence[Raw], views: Sequence[View]) -> Raw:
        """Return the mean direction, a unit vector again."""
        mean_BD = super().merge(raws, views)["embedding"]
        return {"embedding": F.normalize(mean_BD, dim=1)}

    def decode(self, raw: Raw, batch: Batch) -> list[Prediction]:
        vectors = raw["embedding"].float().cpu().tolist()
        return [Prediction(id, {"embedding": vector}) for id, vector in zip(batch.ids, vectors, strict=True)]
