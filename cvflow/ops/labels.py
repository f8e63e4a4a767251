"""Values that maps of class indices share.

It imports nothing, so that worker processes without torch can read them.
"""

from __future__ import annotations

VOID = 255
"""The label of a pixel that counts for nothing: neither in a loss nor in a metric."""
