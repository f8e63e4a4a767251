"""The layouts of pairs that are recognised: where the two images and the maps lie.

A pattern is a path below the source, as ``left/{id}`` or ``{id}/im0.png``. ``{id}`` stands for any
path, ``{n}`` for digits and ``{n+1}`` for the next number, as wide. A pattern without a suffix fits
files with any.
"""

from __future__ import annotations

from collections.abc import Mapping

Layout = Mapping[str, str]
"""Column -> pattern; the two images first."""
STEREO: tuple[Layout, ...] = (
    # cvflow's own.
    {
        "left": "left/{id}",
        "right": "right/{id}",
        "disparity": "disparity/{id}",
        "disparity_right": "disparity_right/{id}",
    },
    # KITTI 2015.
    {
        "left": "image_2/{id}_10",
        "right": "image_3/{id}_10",
        "disparity": "disp_occ_0/{id}_10",
    },
    # KITTI 2012.
    {
        "left": "colored_0/{id}_10",
        "right": "colored_1/{id}_10",
        "disparity": "disp_occ/{id}_10",
    },
    # Middlebury 2014.
    {
        "left": "{id}/im0",
        "right": "{id}/im1",
        "disparity": "{id}/disp0",
        "disparity_right": "{id}/disp1",
    },
    # Side by side.
    {
        "left": "{id}_left",
        "right": "{id}_right",
        "disparity": "{id}_disp",
        "disparity_right": "{id}_disp_right",
    },
)
FLOW: tuple[Layout, ...] = (
    # cvflow's own.
    {"first": "first/{id}", "second": "second/{id}", "flow": "flow/{id}"},
    # KITTI 2015.
    {"first": "image_2/{id}_10", "second": "image_2/{id}_11", "flow": "flow_occ/{id}_10"},
    # KITTI 2012.
    {"first": "colored_0/{id}_10", "second": "colored_0/{id}_11", "flow": "flow_occ/{id}_10"},
    # Middlebury.
    {"first": "{id}/frame10", "second": "{id}/frame11", "flow": "{id}/flow10"},
    # Flying Chairs.
    {"first": "{id}_img1", "second": "{id}_img2", "flow": "{id}_flow"},
    # Sintel.
    {"first": "clean/{id}_{n}", "second": "clean/{id}_{n+1}", "flow": "flow/{id}_{n}"},
)
