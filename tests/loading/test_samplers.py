"""Which rows make up an epoch: each once, classes equally often, a few of each class."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch

from cvflow.errors import RequestError
from cvflow.loading.samplers import FirstOfEach, Sampler
from cvflow.registry import Component, build


class Rows:
    """Labels and ids, as a split's reader gives them."""

    def __init__(self, *counts: int) -> None:
        labels = [label for label, count in enumerate(counts) for _ in range(count)]
        self.columns: dict[str, list[Any]] = {"label": labels, "id": [f"r{i}" for i in range(len(labels))]}

    def __len__(self) -> int:
        return len(self.columns["id"])

    def column(self, name: str) -> list[Any]:
        return self.columns[name]


def sampler(name: str) -> Sampler:
    made: Sampler = build("sampler", Component(name=name), "label", 64)
    return made


def labels(rows: Rows, order: Any) -> Counter[int]:
    return Counter(rows.columns["label"][i] for i in order)


def test_shuffle_takes_each_row_once_and_keeps_its_order_for_good() -> None:
    rows = Rows(10)
    orders = {epoch: sampler("shuffle").order(rows, 3, epoch) for epoch in range(4)}
    assert all(sorted(order) == list(range(10)) for order in orders.values())
    assert len({tuple(order) for order in orders.values()}) == 4
    assert (
        orders[1] == torch.randperm(10, generator=torch.Generator().manual_seed(3 * 1_000_003 + 1)).tolist()
    )


@pytest.mark.parametrize("counts", [(90, 9, 3), (5, 5), (1, 200), (7,)])
def test_balanced_takes_every_class_equally_often(counts: tuple[int, ...]) -> None:
    rows = Rows(*counts)
    for epoch in range(3):
        order = sampler("balanced").order(rows, 0, epoch)
        assert len(order) == len(rows)
        taken = labels(rows, order)
        assert max(taken.values()) - min(taken.values()) <= 1
        # within a class each row as often as the others
        for label, count in enumerate(counts):
            each = Counter(i for i in order if rows.columns["label"][i] == label)
            assert max(each.values()) <= -(-taken[label] // count)
    assert order == sampler("balanced").order(rows, 0, 2)
    assert order != sampler("balanced").order(rows, 1, 2)


def test_balanced_comes_to_every_row_in_time_and_mixes_the_classes() -> None:
    rows = Rows(40, 4)
    orders = [sampler("balanced").order(rows, 0, epoch) for epoch in range(15)]
    assert {i for order in orders for i in order} == set(range(44))
    firsts = [rows.columns["label"][order[0]] for order in orders]
    assert 2 < sum(firsts) < 13


def test_the_first_of_each_class_are_the_same_ones_and_more() -> None:
    rows = Rows(20, 8, 2)
    before: set[int] = set()
    for count in (1, 2, 4, 6, 100):
        few = FirstOfEach(sampler("shuffle"), count, "label")
        chosen = few.order(rows, 0, 0)
        assert sorted(chosen) == sorted(few.order(rows, 0, 1))
        assert len(chosen) == len(rows) or sorted(chosen) != sorted(few.order(rows, 1, 0))
        assert before <= set(chosen)
        assert labels(rows, chosen) == {0: min(20, count), 1: min(8, count), 2: min(2, count)}
        before = set(chosen)
        balanced = FirstOfEach(sampler("balanced"), count, "label").order(rows, 0, 0)
        assert set(balanced) <= before
        assert len(balanced) == len(chosen)


def test_the_first_of_each_do_not_depend_on_the_order_of_rows() -> None:
    rows, turned = Rows(20, 8), Rows(20, 8)
    turned.columns = {name: column[::-1] for name, column in rows.columns.items()}
    chosen = [
        {r.columns["id"][i] for i in FirstOfEach(sampler("shuffle"), 3, "label").order(r, 0, 0)}
        for r in (rows, turned)
    ]
    assert chosen[0] == chosen[1]


def test_a_task_without_classes_is_refused() -> None:
    with pytest.raises(RequestError, match="train.sampler: got balanced"):
        build("sampler", Component(name="balanced"), None, 64)
    with pytest.raises(RequestError, match="train.images_per_class: got 4"):
        FirstOfEach(build("sampler", Component(name="shuffle"), None, 64), 4, None)


def identities(batch_size: int, images: int = 4) -> Sampler:
    made: Sampler = build("sampler", Component(name="identities", images=images), "label", batch_size)
    return made


@pytest.mark.parametrize("counts", [(12,) * 10, (4, 5, 30, 7, 9, 11, 4, 40), (1, 2, 3, 1, 2, 9)])
def test_each_batch_holds_so_many_identities_with_so_many_images(counts: tuple[int, ...]) -> None:
    rows = Rows(*counts)
    for epoch in range(4):
        order = identities(12, 4).order(rows, 0, epoch)
        assert len(order) == max(12, len(rows) // 12 * 12)
        for first in range(0, len(order), 12):
            batch = order[first : first + 12]
            groups = [batch[i : i + 4] for i in range(0, 12, 4)]
            names = [{rows.columns["label"][i] for i in group} for group in groups]
            assert [len(name) for name in names] == [1, 1, 1]
            assert len(set.union(*names)) == 3
            # an image comes again only where there are fewer than 4
            for group in groups:
                assert len(set(group)) == min(4, counts[rows.columns["label"][group[0]]])
    assert list(order) == list(identities(12, 4).order(rows, 0, 3))
    assert list(order) != list(identities(12, 4).order(rows, 1, 3))


def test_identities_come_equally_often_and_so_do_the_images_of_each() -> None:
    rows = Rows(*(8,) * 9)
    order = [i for epoch in range(3) for i in identities(8, 2).order(rows, 0, epoch)]
    assert len(order) == 3 * 72
    assert set(Counter(order).values()) <= {2, 3, 4}
    once = identities(8, 2).order(rows, 0, 0)
    assert labels(rows, once) == dict.fromkeys(range(9), 8)
    assert sorted(once) == list(range(72))


@pytest.mark.parametrize("batch_size", [10, 4, 3])
def test_a_batch_that_holds_no_whole_identities_is_refused(batch_size: int) -> None:
    with pytest.raises(
        RequestError,
        match=f"train.batch_size: got {batch_size}, expected a multiple of train.sampler.images, 4",
    ):
        identities(batch_size)


def test_more_identities_than_there_are_are_refused() -> None:
    with pytest.raises(RequestError, match=r"got 16 for 3 identities in train .*Type train.batch_size=12"):
        identities(16).order(Rows(5, 5, 5), 0, 0)
