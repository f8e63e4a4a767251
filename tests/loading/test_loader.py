"""The same samples and the same augmentation, however the work is divided."""

import pytest
import torch

from cvflow.annotations.image import decode, encode_png
from cvflow.config import Image
from cvflow.dataset.shards import ShardReader, ShardWriter
from cvflow.errors import RequestError
from cvflow.loading.division import consecutive, items_of
from cvflow.loading.loader import eval_batches, seed_of, train_batches
from cvflow.loading.transforms import compose
from cvflow.registry import Component, build
from cvflow.types import Batch, Sample, Schema

COUNT = 25
IMAGE = Image(size=(16, 16))


class Numbers:
    """A task of what loading needs."""

    schema = Schema(("image",), {"label": "int32"})

    def count(self, rows):
        return None

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


class Several(Numbers):
    """As many samples as the remainder of the label by 3."""

    def count(self, rows):
        return [label % 3 for label in rows.column("label")]

    def samples(self, row):
        (sample,) = super().samples(row)
        for number in range(row["label"] % 3):
            yield Sample(f"{sample.id}.{number}", sample.images, sample.target)


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
ITEMS = items_of(ORDER, None)


def load(reader, augment, rank=0, world=1, epoch=3, seed=5, size=8, workers=0, **more):
    return list(
        train_batches(Numbers(), reader, augment, ITEMS, size, rank, world, epoch, seed, workers, **more)
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
        batches = eval_batches(Numbers(), reader, compose(IMAGE, []), 4, rank, world, workers)
        assert all(b.owners == list(range(len(b.rows))) for b in batches)
        return [
            b.batch.ids for b in eval_batches(Numbers(), reader, compose(IMAGE, []), 4, rank, world, workers)
        ]

    alone = evaluate(0, 1)
    assert [id for ids in alone for id in ids] == [f"r{i}" for i in range(COUNT)]
    for rank in range(3):
        assert evaluate(rank, 3) == alone[rank::3]


def test_more_ranks_than_batches(reader):
    assert list(eval_batches(Numbers(), reader, compose(IMAGE, []), 100, 1, 2)) == []


def test_training_batches_count_samples(reader, augment):
    task = Several()
    items = items_of([5, 3, 4, 2], task.count(reader))
    assert items == [(5, 0), (5, 1), (4, 0), (2, 0), (2, 1)]
    one, two = train_batches(task, reader, augment, items, 2, 0, 1, 0, 0)
    assert [one.ids, two.ids] == [["r5.0", "r5.1"], ["r4.0", "r2.0"]], "a last short batch is dropped"
    # each its own augmentation
    assert not torch.equal(one.images["image"][0], one.images["image"][1])
    (left,) = train_batches(task, reader, augment, items[:2], 2, 0, 2, 0, 0)
    (right,) = train_batches(task, reader, augment, items[:2], 2, 1, 2, 0, 0)
    assert [left.ids, right.ids] == [["r5.0"], ["r5.1"]], "a row's samples may be on different ranks"


@pytest.mark.parametrize("workers", [0, 1])
def test_evaluation_batches_count_samples_and_lose_no_row(reader, workers):
    def evaluate(rank, world, size=4):
        batches = eval_batches(Several(), reader, compose(IMAGE, []), size, rank, world, workers)
        return [([row["id"] for row in b.rows], b.owners, b.batch and b.batch.ids) for b in batches]

    alone = evaluate(0, 1)
    assert [id for ids, _, _ in alone for id in ids] == [f"r{i}" for i in range(COUNT)]
    assert all(len(owners) <= 4 for _, owners, _ in alone)
    assert alone[0] == (["r0", "r1", "r2", "r3"], [1, 2, 2], ["r1.0", "r2.0", "r2.1"])
    assert evaluate(1, 2) == alone[1::2]
    assert evaluate(0, 1, size=1)[0] == (["r0"], [], None), "a row without samples is a batch without any"
    assert all(
        "image" not in row
        for b in eval_batches(Several(), reader, compose(IMAGE, []), 4, 0, 1)
        for row in b.rows
    )


def test_rows_in_batches_of_samples():
    assert consecutive(5, None, 2) == [range(2), range(2, 4), range(4, 5)]
    assert consecutive(5, [0, 1, 5, 0, 1], 2) == [range(2), range(2, 3), range(3, 5)]
    assert consecutive(4, [0, 0, 0, 0], 3) == [range(3), range(3, 4)]
    assert consecutive(0, [], 3) == []


def test_seeds_are_stable_and_distinct():
    # another value would change every training
    assert seed_of(0, 1, "cat/1.png") == 1731285434306617976
    assert len({seed_of(s, e, i) for s in range(5) for e in range(5) for i in range(40)}) == 1000
    assert seed_of(1, 23) != seed_of(12, 3)
    assert all(0 <= seed_of(i) < 2**63 for i in range(100))
