"""The figures of stereo.

They are EPE, bad-t (Scharstein and Szeliski 2002) and KITTI's D1 (Menze and Geiger 2015, CVPR).
"""

from __future__ import annotations

from cvflow.metrics.endpoint import Bad

SHARES = {"bad1": Bad(1), "bad3": Bad(3), "d1": Bad(3, 0.05)}
"""bad3: off by more than 3 px. d1: off by more than 3 px and by more than 5 % of the true disparity."""
