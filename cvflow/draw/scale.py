"""Numbers as people read them, on axes and in tables."""

from __future__ import annotations

import math
from typing import Any

THIN_SPACE = "\u2009"
MISSING = "\u2013"
SLACK = 1e-9
"""Relative rounding error that ticks tolerate."""


def number(value: Any, decimals: int | None = None) -> str:
    """Return any cell as text.

    Numbers have 4 significant digits (or ``decimals``) and thin spaces between thousands; None and NaN
    are a dash.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return MISSING
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}".replace(",", THIN_SPACE)
    if value and not 1e-3 <= abs(value) < 1e6:
        return f"{value:.2e}"
    if decimals is None:
        decimals = _decimals(abs(value))
    return f"{value:,.{decimals}f}".replace(",", THIN_SPACE)


def _decimals(value: float) -> int:
    """Return the decimals that make 4 significant digits."""
    if value < 1:
        return 4
    digits = len(str(int(value)))
    return max(0, 4 - digits)


def short(value: float) -> str:
    """Return at most 4 characters, for a small cell: 950, 12k, 1.2M, .93, <.01."""
    if 0 < value < 0.005:
        return "<.01"
    if 0.995 <= value < 1:
        return ">.99"
    if 0 < value < 1:
        return f"{value:.2f}".removeprefix("0")
    # Each bound is where the next smaller unit would be rounded to one digit too many.
    if value >= 999.5e6:
        return _with_unit(value / 1e9, "G")
    if value >= 999.5e3:
        return _with_unit(value / 1e6, "M")
    if value >= 9999.5:
        return _with_unit(value / 1e3, "k")
    return f"{value:.0f}"


def _with_unit(value: float, unit: str) -> str:
    decimals = 1 if value < 9.95 else 0
    return f"{value:.{decimals}f}{unit}"


def ticks(low: float, high: float, most: int = 6, integers: bool = False) -> list[float]:
    """Return at most ``most`` round values that cover low..high: steps of 1, 2 or 5 x 10^k.

    integers: whether the values must be integers.
    """
    if not high > low:
        pad = abs(low) * 0.1 or 1.0
        low -= pad
        high += pad
    rough = (high - low) / (most - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    for factor in (1, 2, 5, 10, 20):
        step = factor * power
        if integers:
            step = max(1.0, step)
        first = math.floor(low / step + SLACK)
        last = math.ceil(high / step - SLACK)
        if last - first < most:
            break
    return [i * step for i in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Return powers of ten that cover low..high (both > 0); over few decades 2 and 5 as well."""
    first = math.floor(math.log10(low) + SLACK)
    last = math.ceil(math.log10(high) - SLACK)
    last = max(last, first + 1)
    if high > 300 * low:
        # About six ticks.
        stride = math.ceil((last - first) / 6)
        exponents = range(first, last + stride, stride)
        return [10.0**exponent for exponent in exponents]
    exponents = range(first, last + 1)
    return _fine_log_ticks(low, high, exponents)


def _fine_log_ticks(low: float, high: float, exponents: range) -> list[float]:
    """Return 1, 2 and 5 x 10^k, from the last value not above low to the first not below high."""
    fine: list[float] = []
    for exponent in exponents:
        power = 10.0**exponent
        fine += [power, 2 * power, 5 * power]
    start = fine[0]
    end = fine[-1]
    # From the smallest outwards, so that the last that fits is the start.
    for value in fine:
        if value <= low * (1 + SLACK):
            start = value
    for value in reversed(fine):
        if value >= high * (1 - SLACK):
            end = value
    # An axis needs two ticks.
    end = max(end, start * 2)
    return [value for value in fine if start <= value <= end]


def tick_label(value: float) -> str:
    """Return the shortest exact form: 0.05, 12, 1e-5, 200k."""
    if value and not 1e-3 <= abs(value) < 1e7:
        return f"{value:.3g}".replace("e-0", "e-").replace("e+0", "e")
    if abs(value) >= 1e4:
        return f"{value / 1000:.6g}k"
    return f"{value:.6g}"
