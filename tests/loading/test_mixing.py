"""Mixed images are what the papers say, by the share that is told, and the same however the work is
divided.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cvflow.annotations.image import decode, encode_png
from cvflow.config import Image
from cvflow.dataset.shards import ShardReader, ShardWriter
from cvflow.loading.division import items_of
from cvflow.loading.loader import train_batches
from cvflow.loading.transforms import compose
from cvflow.registry import Component, build
from cvflow.tasks.classification import Classification
from cvflow.types import Batch, Row, Sample, Schema

COUNT = 21
IMAGE = Image(size=(12, 10))


def batch(value: int, count: int = 3) -> Batch:
    images = {"image": torch.full((count, 3, 12, 10), value, dtype=torch.uint8)}
    return Batch([f"{value}-{i}" for i in range(count)], images, {"label": torch.arange(count) + value})


def mix(name: str, **options: Any) -> Callable[..., Batch]:
    made: Callable[..., Batch] = build("mix", Component(name=name, **options))
    return made


def share(mixed: Batch) -> float:
    assert mixed.mixed is not None
    return float(mixed.mixed.share)


def test_mixup_is_the_weighted_mean() -> None:
    result = mix("mixup", alpha=1.0)(batch(0), batch(200), np.random.default_rng(0))
    assert result.images["image"].dtype == torch.uint8
    assert result.images["image"].unique().tolist() == [round(200 * (1 - share(result)))]
    assert result.ids == ["0-0", "0-1", "0-2"]
    assert result.targets["label"].tolist() == [0, 1, 2]
    assert result.mixed is not None
    assert result.mixed.targets["label"].tolist() == [200, 201, 202]


def test_cutmix_shows_the_partner_in_a_box_of_the_share() -> None:
    own, partners, draw = batch(0), batch(200), np.random.default_rng(0)
    seen = set()
    for _ in range(300):
        result = mix("cutmix")(own, partners, draw)
        shown = result.images["image"] == 200
        assert torch.equal(shown, shown[:1, :1].expand_as(shown))
        assert shown.float().mean().item() == pytest.approx(1 - share(result), abs=1e-6)
        rows, columns = shown[0, 0].any(1).nonzero(), shown[0, 0].any(0).nonzero()
        if len(rows):
            height, width = (int(i.max() - i.min()) + 1 for i in (rows, columns))
            assert height * width == int(shown[0, 0].sum())  # one box
            seen.add((height, width))
    assert len(seen) > 30
    assert not own.images["image"].any()  # not changed in place


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_shares_follow_alpha_and_p(name: str) -> None:
    def shares(**options: float) -> list[float]:
        draw = np.random.default_rng(1)
        return [
            share(m) for m in (mix(name, **options)(batch(0), batch(9), draw) for _ in range(300)) if m.mixed
        ]

    assert len(shares(alpha=1.0)) == 300
    assert 60 < len(shares(alpha=1.0, p=0.3)) < 120
    assert shares(p=0.0) == []
    assert np.std(shares(alpha=0.1)) > 1.3 * np.std(shares(alpha=5.0))
    assert name == "cutmix" or np.mean(shares(alpha=5.0)) == pytest.approx(
        0.5, abs=0.07
    )  # a box at the border is cut off


class Pairs(Classification):
    """Odd rows give two samples, every fifth none (or one, if it is odd)."""

    def count(self, rows: Any) -> list[int]:
        return [(0 if label % 5 == 0 else 1) + label % 2 for label in rows.column("label")]

    def samples(self, row: Row) -> Any:
        image = torch.from_numpy(decode(row["image"])).permute(2, 0, 1)
        for part in range((0 if row["label"] % 5 == 0 else 1) + row["label"] % 2):
            yield Sample(f"{row['id']}.{part}", {"image": image}, {"label": torch.tensor(row["label"])})


@pytest.fixture
def reader(tmp_path: Path) -> ShardReader:
    writer = ShardWriter(tmp_path, "train", Schema(("image",), {"label": "int32"}), 1_000_000)
    draw = np.random.default_rng(0)
    for i in range(COUNT):
        writer.add(
            {
                "id": f"r{i}",
                "path": f"r{i}",
                "image": encode_png(draw.integers(0, 256, (12, 10, 3), dtype=np.uint8)),
                "label": i,
            }
        )
    return ShardReader(tmp_path, writer.close())


ORDER = [*torch.randperm(COUNT, generator=torch.Generator().manual_seed(7)).tolist(), 3, 3, 4]


def load(
    reader: ShardReader, rank: int = 0, world: int = 1, workers: int = 0, task: Any = None, **more: Any
) -> list[Batch]:
    augment = compose(IMAGE, [build("transform", Component(name="random_crop", padding=2), IMAGE)])
    given = {"mix": mix("cutmix"), **more}
    made = task or Classification()
    return list(
        train_batches(
            made, reader, augment, items_of(ORDER, made.count(reader)), 8, rank, world, 3, 5, workers, **given
        )
    )


def rows(batches: list[Batch]) -> list[tuple[str, Tensor, int, int, float]]:
    """(id, image, label, the partner's label, share) of each sample."""
    found = []
    for b in batches:
        assert b.mixed is not None
        of = zip(
            b.ids,
            b.images["image"],
            b.targets["label"].tolist(),
            b.mixed.targets["label"].tolist(),
            strict=True,
        )
        found += [(*sample, float(b.mixed.share)) for sample in of]
    return found


def same(one: list[Any], other: list[Any]) -> bool:
    return len(one) == len(other) and all(
        a[0] == b[0] and torch.equal(a[1], b[1]) and a[2:] == b[2:] for a, b in zip(one, other, strict=True)
    )


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
@pytest.mark.parametrize("world", [2, 3])
def test_ranks_together_are_the_single_rank_bit_for_bit(reader: ShardReader, name: str, world: int) -> None:
    alone = load(reader, mix=mix(name))
    parts = [load(reader, rank, world, mix=mix(name)) for rank in range(world)]
    for i, whole in enumerate(alone):
        ranks = [rows([part[i]]) for part in parts]
        together = [
            ranks[p % world][p // world] for p in range(len(whole))
        ]  # position p of the batch is rank p mod world's
        assert same(together, rows([whole]))
    assert len({share(b) for b in alone}) == 3
    assert any(own != partner for _, _, own, partner, _ in rows(alone))


def test_mixing_is_the_same_in_loader_processes_and_after_a_resume(reader: ShardReader) -> None:
    whole = rows(load(reader))
    assert same(whole, rows(load(reader, workers=2)))
    assert same(whole[8:], rows(load(reader, start=8)))


def test_rows_of_several_samples_and_of_none_have_partners_too(reader: ShardReader) -> None:
    alone = load(reader, task=Pairs())
    parts = [load(reader, rank, 2, task=Pairs()) for rank in range(2)]
    key = {(id, image.numpy().tobytes(), *rest) for id, image, *rest in rows(alone)}
    assert key == {(id, image.numpy().tobytes(), *rest) for part in parts for id, image, *rest in rows(part)}
    assert any(own != partner for _, _, own, partner, _ in rows(alone))


def test_each_row_is_read_once_a_batch_on_one_rank(
    reader: ShardReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, get = [], ShardReader.__getitem__
    monkeypatch.setattr(ShardReader, "__getitem__", lambda self, i: read.append(i) or get(self, i))  # type: ignore[func-returns-value]
    load(reader)
    assert read == ORDER


def test_a_row_that_comes_again_has_an_augmentation_of_its_own(reader: ShardReader) -> None:
    images = {}
    for b in load(reader, mix=None):
        assert b.mixed is None
        for id, image in zip(b.ids, b.images["image"], strict=True):
            images.setdefault(id, []).append(image)
    first, second, third = images["r3"]
    assert not torch.equal(first, second) or not torch.equal(second, third)


def test_parts_and_moves_keep_the_partners() -> None:
    whole = mix("mixup")(batch(0, 5), batch(9, 5), np.random.default_rng(0)).to(torch.device("cpu"))
    parts = whole.parts(2)
    assert [label for part in parts if part.mixed for label in part.mixed.targets["label"].tolist()] == [
        9,
        10,
        11,
        12,
        13,
    ]
    assert all(share(part) == share(whole) for part in parts)
