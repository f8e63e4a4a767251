"""The parts of a total as one stacked bar."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from cvflow.draw.scale import number


class Segment(NamedTuple):
    """A drawn part. share: percent of the total. text: the amount in words."""

    name: str
    share: float
    text: str


@dataclass(frozen=True)
class Shares:
    """A bar of parts. parts: name -> amount >= 0, drawn in this order. unit: follows the amounts."""

    parts: Mapping[str, float]
    title: str = ""
    unit: str = ""
    kind: ClassVar[str] = "shares"

    @property
    def segments(self) -> list[Segment]:
        """The parts that are not zero."""
        segments = []
        total = sum(self.parts.values())
        for name, amount in self.parts.items():
            if amount <= 0:
                continue
            share = 100 * amount / total
            text = f"{self._with_unit(amount)}, {share:.1f} %"
            segment = Segment(name, round(share, 2), text)
            segments.append(segment)
        return segments

    def _with_unit(self, amount: float) -> str:
        text = f"{number(amount)} {self.unit}"
        return text.strip()
