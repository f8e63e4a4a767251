"""Verification of pairs: are two images of one identity?

Every threshold of the similarity answers, with errors of two kinds. The terms are those of
ISO/IEC 19795-1: a genuine pair is of one identity, an impostor pair of two.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

STEP = 2**17
"""Similarities are counted in steps of 1 / STEP: all pairs fit into two tables, whatever their number."""
LEVELS = 2 * STEP + 1
FARS = (0.1, 0.01, 0.001)
BARS = 64
POINTS = 100
"""Points of the drawn curves."""
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class Verification:
    """Integer counts of both kinds of pairs at each level of similarity. A pair is accepted
    from a threshold on.

    - tar_at_far_f: the greatest share of genuine pairs accepted at a threshold that accepts at
      most the share f of the impostors. NaN if there are fewer than 1 / f impostors: none of
      them could be accepted, and that is another rate.
    - equal_error_rate: where the share of impostors accepted meets that of genuine pairs
      rejected, between two thresholds by a straight line; eer_threshold: the similarity there.
    - auc: the area under the ROC, which is how often a genuine pair is more similar than an
      impostor, ties counted half (Fawcett 2006, Pattern Recognition Letters 27).
    """

    def __init__(self) -> None:
        self.genuine = np.zeros(LEVELS, np.int64)
        self.impostor = np.zeros(LEVELS, np.int64)

    def add(self, levels: Ints, same: NDArray[np.bool_], counted: NDArray[np.bool_]) -> None:
        """Count pairs.

        levels: of each pair, 0..LEVELS - 1. same: whether it is genuine. counted: False for
        pairs to pass over.
        """
        genuine = levels[same & counted]
        impostor = levels[~same & counted]
        self.genuine += np.bincount(genuine, minlength=LEVELS)
        self.impostor += np.bincount(impostor, minlength=LEVELS)

    @property
    def has_both(self) -> bool:
        """Whether pairs of both kinds were counted."""
        return bool(self.genuine.any() and self.impostor.any())

    def _roc(self) -> tuple[Floats, Floats]:
        """Return (FAR, TAR), each LEVELS + 1.

        The first is without acceptance, then one more level is accepted each time.
        """
        return _accepted_share(self.impostor), _accepted_share(self.genuine)

    def compute(self) -> dict[str, float]:
        """Return the figures; all NaN unless pairs of both kinds were counted."""
        names = [_tar_name(f) for f in FARS]
        if not self.has_both:
            names += ["equal_error_rate", "eer_threshold", "auc"]
            return dict.fromkeys(names, math.nan)
        far, tar = self._roc()
        impostors = int(self.impostor.sum())
        figures = {}
        for f in FARS:
            enough = f * impostors >= 1
            figures[_tar_name(f)] = _tar_at(f, far, tar) if enough else math.nan
        rate, index = equal_error(far, tar)
        figures["equal_error_rate"] = rate
        figures["eer_threshold"] = (LEVELS - index) / STEP - 1
        # Trapezoids, so that ties count half.
        figures["auc"] = float(np.sum(np.diff(far) * (tar[1:] + tar[:-1])) / 2)
        return figures

    def details(self) -> dict[str, Any]:
        """Return figures: the ROC, and the similarities of both kinds of pairs."""
        far, tar = self._roc()
        least_far = 1 / int(self.impostor.sum())
        fars = np.unique(np.geomspace(least_far, 1, POINTS))
        measured = []
        chance = []
        for f in fars.tolist():
            measured.append([f, _tar_at(f, far, tar)])
            chance.append([f, f])
        roc = {
            "figure": "curves",
            "title": "ROC",
            "series": {"measured": measured, "pure chance": chance},
            "x_label": "impostor pairs accepted",
            "y_label": "genuine pairs accepted",
            "x_log": True,
        }
        similarities = {
            "figure": "curves",
            "series": {"genuine pairs": bars(self.genuine), "impostor pairs": bars(self.impostor)},
            "x_label": "similarity",
            "y_label": "share of the pairs",
        }
        return {"roc": roc, "similarities": similarities}


def _tar_name(far: float) -> str:
    return f"tar_at_far_{far}"


def _accepted_share(counts: Ints) -> Floats:
    """Return the share of the pairs that is accepted, from the highest threshold to the lowest."""
    accepted = np.concatenate([[0], np.cumsum(counts[::-1])])
    share: Floats = accepted / accepted[-1]
    return share


def _tar_at(share: float, far: Floats, tar: Floats) -> float:
    """Return the TAR at the lowest threshold that accepts at most this share of the impostors."""
    index = np.searchsorted(far, share, side="right") - 1
    return float(tar[index])


def equal_error(far: Floats, tar: Floats) -> tuple[float, int]:
    """Return (equal error rate, index of the first threshold at or beyond it).

    The rate is where FAR = 1 - TAR on the straight line between two thresholds.
    """
    excess = far + tar - 1
    index = int(np.argmax(excess >= 0))
    before, after = excess[index - 1], excess[index]
    share = -before / (after - before)
    rate = far[index - 1] + share * (far[index] - far[index - 1])
    return float(rate), index


def bars(counts: Ints) -> list[list[float]]:
    """Return [similarity at the middle, share of the pairs] of equal parts of -1..1.

    Parts without a pair are left out at both ends.
    """
    part_counts = counts[:-1].reshape(BARS, -1).sum(1)
    # the level of similarity 1 itself is one too many to divide
    part_counts[-1] += counts[-1]
    used = np.flatnonzero(part_counts)
    total = int(part_counts.sum())
    points = []
    for i in range(used[0], used[-1] + 1):
        middle = (i + 0.5) * 2 / BARS - 1
        points.append([float(middle), float(part_counts[i] / total)])
    return points
