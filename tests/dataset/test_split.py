"""The division into splits: exact, stratified, fixed by ids."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvflow.config import SplitRule
from cvflow.dataset.split import SplitPlan
from cvflow.errors import CvflowError
from cvflow.formats.record import Record


def records(classes: list[int], prefix: str = "r") -> list[Record]:
    return [Record(f"{prefix}{i}", f"{prefix}{i}", {}, {"label": c}) for i, c in enumerate(classes)]


def splits(given: list[Record], rule: SplitRule, stratify: str | None = "label") -> dict[str, str]:
    return {r.id: split for r, split in SplitPlan(given, rule, stratify).over(given)}


def test_all_is_test_where_the_rule_says_so() -> None:
    given = [*records([0, 1, 1]), replace(records([0], "t")[0], split="train")]
    assert set(splits(given, SplitRule(test=1, val=0.5)).values()) == {"test"}


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=120),
    st.floats(0, 0.6),
    st.floats(0, 0.6),
    st.integers(0, 3),
)
def test_every_record_once_every_class_in_train_shares_within_one(classes, val, test, seed):
    rows = records(classes)
    found = splits(rows, SplitRule(val=val, test=test, seed=seed))
    assert len(found) == len(rows)
    for label, count in Counter(classes).items():
        own = Counter(found[r.id] for r in rows if r.annotation["label"] == label)
        assert own["train"] >= 1
        if count >= 3:
            assert abs(own["test"] - test * count) <= 1 or own["train"] == 1
            assert abs(own["val"] - val * (count - own["test"])) <= 1 or own["train"] == 1


def test_exact_fractions_and_totals():
    rows = records([0] * 700 + [1] * 250 + [2] * 50)
    found = splits(rows, SplitRule(val=0.1, test=0.2))
    assert Counter(found.values()) == {"train": 720, "val": 80, "test": 200}
    by_class = Counter((r.annotation["label"], found[r.id]) for r in rows)
    assert [by_class[c, "test"] for c in range(3)] == [140, 50, 10]


def test_many_small_classes_still_get_a_val_split():
    assert Counter(splits(records(list(range(40)) * 3), SplitRule(val=0.1, test=0.0)).values())["val"] == 12


def test_seed_and_ids_decide_and_order_does_not():
    rows = records([0, 1] * 100)
    assert splits(rows, SplitRule()) == splits(rows[::-1], SplitRule())
    assert splits(rows, SplitRule()) != splits(rows, SplitRule(seed=1))


def test_one_more_file_moves_few():
    rows = records([i % 7 for i in range(700)])
    before = splits(rows, SplitRule())
    for i in range(20):
        after = splits([*rows, Record(f"new{i}", "", {}, {"label": i % 7})], SplitRule())
        assert sum(before[k] != after[k] for k in before) <= 8


def test_given_splits_are_kept_and_only_missing_ones_carved():
    rows = records([0, 1] * 50)
    with_test = [replace(r, split="test" if i < 20 else "train") for i, r in enumerate(rows)]
    found = splits(with_test, SplitRule(val=0.1, test=0.5))
    assert {k for k, v in found.items() if v == "test"} == {r.id for r in with_test[:20]}
    assert Counter(found.values()) == {"test": 20, "val": 8, "train": 72}
    with_val = [replace(r, split="val" if i < 10 else "train") for i, r in enumerate(rows)]
    assert Counter(splits(with_val, SplitRule(val=0.5, test=0.2)).values()) == {
        "val": 10,
        "test": 18,
        "train": 72,
    }


def test_without_classes():
    assert Counter(splits(records([0] * 10), SplitRule(val=0.25, test=0.2), None).values()) == {
        "train": 6,
        "val": 2,
        "test": 2,
    }


def test_groups_stay_together():
    rows = [replace(r, group=f"person {i % 25}") for i, r in enumerate(records([i % 5 for i in range(200)]))]
    found = splits(rows, SplitRule(val=0.2, test=0.2))
    of_group: dict[str | None, set[str]] = {}
    for r in rows:
        of_group.setdefault(r.group, set()).add(found[r.id])
    assert all(len(s) == 1 for s in of_group.values())
    assert set(found.values()) == {"train", "val", "test"}


def test_numpy_labels_are_fine():
    rows = [Record(f"{i}", "", {}, {"label": np.int64(i % 2)}) for i in range(10)]
    assert Counter(splits(rows, SplitRule(val=0, test=0.2)).values()) == {"train": 8, "test": 2}


@pytest.mark.parametrize(
    "change", [lambda r: r[:-1], lambda r: [*r, *records([0], "new")], lambda r: [r[1], r[0], *r[2:]]]
)
def test_a_changed_source_is_noticed(change):
    rows = records([0] * 10)
    plan = SplitPlan(rows, SplitRule(), "label")
    with pytest.raises(CvflowError, match="source changed"):
        list(plan.over(change(rows)))
