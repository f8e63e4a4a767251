"""From the samples of a batch back to its rows."""

from __future__ import annotations

from collections.abc import Iterable

from cvflow.types import Prediction


def by_owner(
    num_rows: int, owners: Iterable[int], predictions: Iterable[Prediction]
) -> list[list[Prediction]]:
    """Return the predictions for each row's samples. owners: for each prediction the place of its row."""
    by_row: list[list[Prediction]] = [[] for _ in range(num_rows)]
    for owner, prediction in zip(owners, predictions, strict=True):
        by_row[owner].append(prediction)
    return by_row
