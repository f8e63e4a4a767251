"""Verification of pairs: are two images of one identity? Every threshold of the similarity answers, with errors of two kinds.

The terms are those of ISO/IEC 19795-1: a genuine pair is of one identity, an impostor pair of two.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

STEP = 2**17
"""Similarities are told apart in steps of 1 / STEP: all pairs fit into two tables of counts, whatever their number."""
LEVELS = 2 * STEP + 1
FARS = (0.1, 0.01, 0.001)
BARS = 64
POINTS = 100
"""Of the drawn curves."""
Ints = NDArray[np.int64]


class Verification:
    """Integer counts of both kinds of pairs at each level of similarity. A pair is accepted from a threshold on.

    - tar_at_far_f: the greatest share of genuine pairs accepted at a threshold that accepts at most the share f of the impostors. NaN
      where these are fewer than 1 / f: none of them could be accepted, and that is another rate.
    - equal_error_rate: where the share of impostors accepted meets that of genuine pairs rejected, between two thresholds by a straight
      line; eer_threshold: the similarity there.
    - auc: the area under the ROC, which is how often a genuine pair is more similar than an impostor, ties counted half (Fawcett 2006,
      Pattern Recognition Letters 27).
    """

    def __init__(self) -> None:
        self.genuine, self.impostor = np.zeros(LEVELS, np.int64), np.zeros(LEVELS, np.int64)

    def add(self, levels: Ints, same: NDArray[np.bool_], counted: NDArray[np.bool_]) -> None:
        """levels: of each pair, 0..LEVELS - 1. same: whether it is genuine. counted: pairs that are passed over where False."""
        self.genuine += np.bincount(levels[same & counted], minlength=LEVELS)
        self.impostor += np.bincount(levels[~same & counted], minlength=LEVELS)

    @property
    def has_both(self) -> bool:
        return bool(self.genuine.any() and self.impostor.any())

    def _roc(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(FAR, TAR), each LEVELS + 1: at no acceptance, then with one more level accepted each time."""
        accepted = [
            np.concatenate([[0], np.cumsum(counts[::-1])]) for counts in (self.impostor, self.genuine)
        ]
        far, tar = (counts / counts[-1] for counts in accepted)
        return far, tar

    def compute(self) -> dict[str, float]:
        if not self.has_both:
            return dict.fromkeys(
                [*(f"tar_at_far_{f}" for f in FARS), "equal_error_rate", "eer_threshold", "auc"], math.nan
            )
        far, tar = self._roc()
        rate, place = equal_error(far, tar)
        impostors = int(self.impostor.sum())
        return {
            **{
                f"tar_at_far_{f}": float(tar[np.searchsorted(far, f, side="right") - 1])
                if f * impostors >= 1
                else math.nan
                for f in FARS
            },
            "equal_error_rate": rate,
            "eer_threshold": (LEVELS - place) / STEP - 1,
            "auc": float(np.sum(np.diff(far) * (tar[1:] + tar[:-1])) / 2),
        }

    def details(self) -> dict[str, Any]:
        far, tar = self._roc()
        least = 1 / int(self.impostor.sum())
        at = np.unique(np.geomspace(least, 1, POINTS))
        accepted = [[float(f), float(tar[np.searchsorted(far, f, side="right") - 1])] for f in at]
        chance = [[float(f), float(f)] for f in at]
        shares = {
            f"{kind} pairs": bars(counts) for kind, counts in (("genuine", self.genuine), ("impostor", self.impostor))
        }  # fmt: skip
        return {
            "roc": {
                "figure": "curves", "title": "ROC", "series": {"measured": accepted, "pure chance": chance},
                "x_label": "impostor pairs accepted", "y_label": "genuine pairs accepted", "x_log": True,
            },
            "similarities": {"figure": "curves", "series": shares, "x_label": "similarity", "y_label": "share of the pairs"},
        }  # fmt: skip


def equal_error(far: NDArray[np.float64], tar: NDArray[np.float64]) -> tuple[float, int]:
    """(the rate at which FAR = 1 - TAR on the straight line between two thresholds, the first place at or beyond it)."""
    excess = far + tar - 1
    place = int(np.argmax(excess >= 0))
    before, after = excess[place - 1], excess[place]
    share = -before / (after - before)
    return float(far[place - 1] + share * (far[place] - far[place - 1])), place


def bars(counts: Ints) -> list[list[float]]:
    """[similarity at the middle, share of the pairs] of equal parts of -1..1, those at the ends without a pair left out."""
    inside = counts[:-1].reshape(BARS, -1).sum(1)
    inside[-1] += counts[-1]
    used = np.flatnonzero(inside)
    middles = (np.arange(BARS) + 0.5) * 2 / BARS - 1
    total = int(inside.sum())
    return [[float(middles[i]), float(inside[i] / total)] for i in range(used[0], used[-1] + 1)]
