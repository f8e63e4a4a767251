"""Figures of a metric that name samples by their ids, with the samples' images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cvflow.draw import Block, Item, block_of
from cvflow.stages.report.finished_run import Finished


def figure_block(done: Finished, figure: Mapping[str, Any], title: str) -> Block:
    """The block of a figure.

    Its items ``{id, caption, tone}``, in ``rows``, become pictures of the measured split.
    """
    rows = figure.get("rows", ())
    ids = {item["id"] for row in rows for item in row if isinstance(item, dict)}
    if not ids:
        return block_of(figure, title)
    rows_by_id = done.find(ids)
    pictures = {id: done.draw(shown_row, shown_row.truth) for id, shown_row in rows_by_id.items()}
    items = [
        [Item(pictures[item["id"]], item["caption"], item["tone"], item["id"]) for item in row]
        for row in rows
    ]
    return block_of({**figure, "rows": items}, title)
