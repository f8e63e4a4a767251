"""Numbers as people read them, on axes and in tables."""

from __future__ import annotations

import math
from typing import Any

THIN_SPACE = "\u2009"
MISSING = "\u2013"


def number(value: Any, decimals: int | None = None) -> str:
    """Any cell as text: 4 significant digits (or the decimals asked for), thin spaces between thousands, a dash for None and NaN."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return MISSING
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}".replace(",", THIN_SPACE)
    if value and not 1e-3 <= abs(value) < 1e6:
        return f"{value:.2e}"
    if decimals is None:
        decimals = 4 if abs(value) < 1 else max(0, 4 - len(str(int(abs(value)))))
    return f"{value:,.{decimals}f}".replace(",", THIN_SPACE)


def short(value: float) -> str:
    """At most 4 characters, for a small cell: 950, 12k, 1.2M, .93, <.01."""
    if 0 < value < 0.005:
        return "<.01"
    if 0 < value < 1:
        return f"{value:.2f}"[1:] if value < 0.995 else ">.99"
    for start, unit, letter in ((999.5e6, 1e9, "G"), (999.5e3, 1e6, "M"), (9999.5, 1e3, "k")):
        if value >= start:
            return f"{value / unit:.{int(value < 9.95 * unit)}f}{letter}"
    return f"{value:.0f}"


def ticks(low: float, high: float, most: int = 6, whole: bool = False) -> list[float]:
    """At most ``most`` round values (steps of 1, 2 or 5 x 10^k) that cover low..high; whole: only integers."""
    if not high > low:
        pad = abs(low) * 0.1 or 1.0
        low, high = low - pad, high + pad
    rough = (high - low) / (most - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    for step in (power, 2 * power, 5 * power, 10 * power, 20 * power):
        step = max(1.0, step) if whole else step
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        if last - first < most:
            break
    return [i * step for i in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten that cover low..high (both > 0); over few decades 2 and 5 as well."""
    first, last = math.floor(math.log10(low) + 1e-9), math.ceil(math.log10(high) - 1e-9)
    last = max(last, first + 1)
    stride = math.ceil((last - first) / 6)
    if high > 300 * low:
        return [10.0**e for e in range(first, last + stride, stride)]
    fine = [m * 10.0**e for e in range(first, last + 1) for m in (1, 2, 5)]
    start = max((v for v in fine if v <= low * (1 + 1e-9)), default=fine[0])
    end = min((v for v in fine if v >= high * (1 - 1e-9)), default=fine[-1])
    return [v for v in fine if start <= v <= max(end, start * 2)]


def tick_label(value: float) -> str:
    """The shortest exact form: 0.05, 12, 1e-5, 200k."""
    if value and not 1e-3 <= abs(value) < 1e7:
        return f"{value:.3g}".replace("e-0", "e-").replace("e+0", "e")
    if abs(value) >= 1e4:
        return f"{value / 1000:.6g}k"
    return f"{value:.6g}"
