"""What a whole is made of: one stacked bar."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from cvflow.draw.scale import number


@dataclass(frozen=True)
class Shares:
    """parts: name -> amount >= 0, drawn in this order; unit: follows the amounts."""

    parts: Mapping[str, float]
    title: str = ""
    unit: str = ""
    kind: ClassVar[str] = "shares"

    @property
    def segments(self) -> list[tuple[str, float, str]]:
        """(name, percent of the whole, the amount in words) of each part that is not nothing."""
        total = sum(self.parts.values())
        return [
            (name, *self._words(amount, 100 * amount / total))
            for name, amount in self.parts.items()
            if amount > 0
        ]

    def _words(self, amount: float, share: float) -> tuple[float, str]:
        text = f"{number(amount)} {self.unit}".strip()
        return round(share, 2), f"{text}, {share:.1f} %"
