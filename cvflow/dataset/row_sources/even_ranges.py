"""Ranges of rows for sources in which every row can be read by itself."""

from __future__ import annotations


def even_ranges(count: int, size: int) -> list[tuple[int, int]]:
    """Return (start, stop) of ``count`` rows in parts of ``size``; the last may be smaller."""
    ranges = []
    for start in range(0, count, size):
        stop = min(start + size, count)
        ranges.append((start, stop))
    return ranges
