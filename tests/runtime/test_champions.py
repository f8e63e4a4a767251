"""The history of champions and the way back, on a real MLflow store."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from cvflow.errors import RequestError
from cvflow.runtime.champions import Reign, crown, former, reigns, roll_back, succession
from cvflow.runtime.model_registry import champion
from cvflow.runtime.tracking_uri import connect

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project with a store of its own, current for the module."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("champions")
        patch.chdir(folder)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield folder


@pytest.fixture
def pets(store: Path) -> Iterator[str]:
    """A registered model of four versions without files, none of them champion."""
    client = connect()
    client.create_registered_model("pets")
    for _ in range(4):
        client.create_model_version("pets", str(store))
    yield "pets"
    client.delete_registered_model("pets")


def standing(model: str) -> int | None:
    found = champion(model)
    return found.version if found else None


def test_champions_and_the_way_back(pets: str) -> None:
    with pytest.raises(RequestError, match="got 'pets', which never had a champion"):
        roll_back(pets)
    crown(pets, 1, "the first")
    with pytest.raises(RequestError, match="whose only champion was version 1.*cvflow models pets"):
        roll_back(pets)
    for version in (2, 3, 3):
        crown(pets, version, f"better: {version}")
    assert former(pets) == (3, 2)
    assert standing(pets) == 3
    assert roll_back(pets) == (3, 2)
    assert standing(pets) == 2
    assert roll_back(pets) == (2, 1)
    assert standing(pets) == 1
    with pytest.raises(RequestError, match="whose only champion was version 1"):
        roll_back(pets)
    crown(pets, 4, "best")
    assert roll_back(pets) == (4, 1)
    assert [(r.version, r.rollback) for r in reigns(pets)] == [
        (1, False),
        (2, False),
        (3, False),
        (2, True),
        (1, True),
        (4, False),
        (1, True),
    ]
    times = [datetime.fromisoformat(r.since) for r in reigns(pets)]
    assert times == sorted(times)
    assert reigns(pets)[1].why == "better: 2"


def test_an_alias_moved_by_other_hands_belongs_to_the_history(pets: str) -> None:
    crown(pets, 1, "the first")
    connect().set_registered_model_alias(pets, "champion", "3")
    assert [(r.version, r.since != "") for r in reigns(pets)] == [(1, True), (3, False)]
    crown(pets, 2, "better")
    assert [(r.version, r.why) for r in reigns(pets)] == [
        (1, "the first"),
        (3, "not by cvflow"),
        (2, "better"),
    ]
    assert roll_back(pets) == (2, 3)


def test_a_deleted_version_is_passed_over(pets: str) -> None:
    for version in (1, 2, 3):
        crown(pets, version, "better")
    connect().delete_model_version(pets, "2")
    assert roll_back(pets) == (3, 1)


def test_what_is_not_there(pets: str) -> None:
    with pytest.raises(RequestError, match="got 'models:/pets/9'"):
        crown(pets, 9, "")
    with pytest.raises(RequestError, match="Did you mean 'pets'"):
        roll_back("pest")
    assert reigns("pest") == []


def test_a_champion_that_comes_again_counts_once_among_neighbours() -> None:
    line = [Reign(v, "t", "") for v in (1, 2, 1)]
    assert succession(line, {1, 2}) == [1, 2, 1]
    assert succession(line, {1}) == [1]
