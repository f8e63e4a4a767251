"""The figures of optical flow.

They are EPE (Baker et al. 2011, IJCV 92) and KITTI's Fl (Menze and Geiger 2015, CVPR).
"""

from __future__ import annotations

from cvflow.metrics.endpoint import Bad

SHARES = {"fl": Bad(3, 0.05), "bad1": Bad(1)}
"""fl: off by more than 3 px and by more than 5 % of the true length. bad1: off by more than 1 px."""
