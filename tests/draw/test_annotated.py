"""Labels and boxes on an image."""

from __future__ import annotations

import numpy as np
import pytest

from cvflow.annotations import mask
from cvflow.draw.annotated import PALETTE, boxed, overlaid
from cvflow.ops.labels import VOID
from cvflow.tasks.segmentation import Segmentation
from cvflow.types import DatasetInfo

GREY = np.full((2, 3, 1), 100, np.uint8)
LABELS = np.array([[0, 1, VOID], [2, 2, 0]], np.uint8)


def task(*classes: str) -> Segmentation:
    made = Segmentation()
    made.bind(DatasetInfo("segmentation", classes, {}, (), (), ""))
    return made


def clear(drawn: np.typing.NDArray[np.uint8]) -> list[list[bool]]:
    found: list[list[bool]] = (drawn == 100).all(axis=2).tolist()
    return found


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        (("Sky", "Building", "Road"), [[False, False, True], [False, False, False]]),
        (("background", "cat", "dog"), [[True, False, True], [False, False, True]]),
        (("cat", "dog", "Unlabelled"), [[False, False, True], [True, True, False]]),
    ],
    ids=["a class like others", "background", "background last"],
)
def test_only_background_and_void_are_left_clear(
    classes: tuple[str, ...], expected: list[list[bool]]
) -> None:
    drawn = task(*classes).answer.draw(GREY, {"mask": mask.encode(LABELS)})
    assert drawn.shape == (2, 3, 3)
    assert clear(drawn) == expected


def test_every_class_has_a_colour_that_is_its_own() -> None:
    labels = np.arange(VOID, dtype=np.uint8)[None]
    drawn = overlaid(np.full((1, VOID, 3), 100, np.uint8), labels)[0]
    assert len(np.unique(drawn, axis=0)) > 250  # half transparent: a few fall together
    assert (drawn[0] != drawn[1]).any()
    assert np.abs(drawn[0].astype(int) - 100).max() > 30, "not the black of a background"


def test_behind_a_background_the_colours_are_those_of_pascal_voc() -> None:
    drawn = overlaid(np.zeros((1, 3, 3), np.uint8), np.array([[0, 1, 15]], np.uint8), clear=[0])[0]
    assert PALETTE[[1, 15]].tolist() == [[128, 0, 0], [192, 128, 128]]
    assert drawn.tolist() == [
        [0, 0, 0],
        *(np.round(0.55 * PALETTE[[1, 15]].astype(np.float32))).astype(int).tolist(),
    ]


def test_a_box_has_its_edge_on_the_pixels_that_it_holds() -> None:
    drawn = boxed(np.zeros((60, 60, 1), np.uint8), [10, 20, 40, 50], "a")
    found = (drawn[25:, :, 0] > 200).nonzero()  # below the name
    assert (int(found[1].min()), int(found[1].max())) == (10, 39)
    assert int(found[0].max()) + 25 == 49
