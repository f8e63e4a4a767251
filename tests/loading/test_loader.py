"""The same samples and the same augmentation, however the work is divided."""

import pytest
import torch

from cvflow.annotations.image import decode, encode_png
from cvflow.config import Image
from cvflow.dataset.shards import ShardReader, ShardWriter
from cvflow.errors import RequestError
from cvflow.loading.loader import eval_batches, seed_of, train_batches
from cvflow.loading.transforms import compose
from cvflow.registry import Component, build
from cvflow.types import Batch, Sample, Schema

COUNT = 25
IMAGE = Image(size=(16, 16))


class Numbers:
    """A task of the two methods that loading needs."""

    def samples(self, row):
        yield Sample(
            row["id"],
            {"image": torch.from_numpy(decode(row["image"])).permute(2, 0, 1)},
            {"label": row["label"]},
        )

    def collate(self, samples):
        images = {"image": torch.stack([s.images["image"] for s in samples])}
        return Batch(
            [s.id for s in samples], images, {"label": torch.tensor([s.target["label"] for s in samples])}
        )


class Twice(Numbers):
    """Two samples a row."""

    def samples(self, row):
        for sample in super().samples(row):
            yield sample
            yield Sample(sample.id + "b", sample.images, sample.target)


@pytest.fixture
def reader(tmp_path):
    writer = ShardWriter(tmp_path, "train", Schema(("image",), {"label": "int32"}), 1_000_000)
    draw = torch.Generator().manual_seed(0)
    for i in range(COUNT):
        pixels = torch.randint(0, 256, (16, 16, 3), generator=draw, dtype=torch.uint8).numpy()
        writer.add({"id": f"r{i}", "path": f"r{i}", "image": encode_png(pixels), "label": i})
    return ShardReader(tmp_path, writer.close())


@pytest.fixture
def augment():
    return compose(
        IMAGE, [build("transform", Component(name=n), IMAGE) for n in ("random_crop", "horizontal_flip")]
    )


ORDER = torch.randperm(COUNT, generator=torch.Generator().manual_seed(7)).tolist()


def load(reader, augment, rank=0, world=1, epoch=3, seed=5, size=8, workers=0, **more):
    return list(
        train_batches(Numbers(), reader, augment, ORDER, size, rank, world, epoch, seed, workers, **more)
    )


def by_id(batches):
    return {
        id: image for batch in batches for id, image in zip(batch.ids, batch.images["image"], strict=True)
    }


def same(one, two):
    return list(one) == list(two) and all(torch.equal(one[k], two[k]) for k in one)


def test_batches_follow_the_order_and_the_short_one_is_dropped(reader, augment):
    batches = load(reader, augment)
    assert [b.targets["label"].tolist() for b in batches] == [ORDER[0:8], ORDER[8:16], ORDER[16:24]]


@pytest.mark.parametrize("world", [2, 3])
def test_ranks_together_are_the_single_rank(reader, augment, world):
    alone = load(reader, augment)
    parts = [load(reader, augment, rank, world) for rank in range(world)]
    for i, whole in enumerate(alone):
        together = by_id(part[i] for part in parts)
        assert same(dict(sorted(together.items())), dict(sorted(by_id([whole]).items())))


def test_augmentation_is_the_same_in_loader_processes(reader, augment):
    assert same(by_id(load(reader, augment)), by_id(load(reader, augment, workers=2)))


def test_augmentation_follows_seed_epoch_and_id_not_the_batch(reader, augment):
    base = by_id(load(reader, augment))
    assert same(base, by_id(load(reader, augment, size=4)))
    for change in ({"epoch": 4}, {"seed": 6}):
        other = by_id(load(reader, augment, **change))
        assert list(other) == list(base)
        assert sum(torch.equal(base[k], other[k]) for k in base) < 6


def test_start_goes_on_where_it_stopped(reader, augment):
    assert same(by_id(load(reader, augment)[1:]), by_id(load(reader, augment, start=8)))
    assert load(reader, augment, start=24) == []


def test_a_dataset_smaller_than_a_batch_is_one_batch(reader, augment):
    (batch,) = load(reader, augment, size=100)
    assert batch.targets["label"].tolist() == ORDER
    assert len(load(reader, augment, size=100, rank=1, world=2)[0]) == 12


def test_a_batch_smaller_than_the_world_is_refused(reader, augment):
    with pytest.raises(RequestError, match="batches of 2, expected a sample or more for each of 3 workers"):
        load(reader, augment, size=2, world=3)


def test_loading_leaves_the_generator_alone(reader, augment):
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    load(reader, augment)
    list(eval_batches(Numbers(), reader, compose(IMAGE, []), 8, 0, 1))
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("workers", [0, 1])
def test_evaluation_batches_do_not_depend_on_the_world(reader, workers):
    def evaluate(rank, world):
        return [b.ids for b in eval_batches(Numbers(), reader, compose(IMAGE, []), 4, rank, world, workers)]

    alone = evaluate(0, 1)
    assert [id for ids in alone for id in ids] == [f"r{i}" for i in range(COUNT)]
    for rank in range(3):
        assert evaluate(rank, 3) == alone[rank::3]


def test_more_ranks_than_batches(reader):
    assert list(eval_batches(Numbers(), reader, compose(IMAGE, []), 100, 1, 2)) == []


def test_rows_of_several_samples_are_flattened(reader, augment):
    (batch,) = train_batches(Twice(), reader, augment, [3, 1], 2, 0, 1, 0, 0)
    assert batch.ids == ["r3", "r3b", "r1", "r1b"]
    assert not torch.equal(batch.images["image"][0], batch.images["image"][1])  # each its own augmentation


def test_seeds_are_stable_and_distinct():
    assert seed_of(0, 1, "cat/1.png") == 1731285434306617976  # another value would change every training
    assert len({seed_of(s, e, i) for s in range(5) for e in range(5) for i in range(40)}) == 1000
    assert seed_of(1, 23) != seed_of(12, 3)
    assert all(0 <= seed_of(i) < 2**63 for i in range(100))
