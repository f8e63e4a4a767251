"""Disparity and flow follow their images: the second image, looked up by the transformed map, is
the transformed first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F_nn
from torchvision.transforms.v2 import functional as F

from cvflow.annotations import KINDS
from cvflow.config import Image
from cvflow.errors import RequestError
from cvflow.loading.map_tensors import Disparity, Flow
from cvflow.loading.transforms import compose
from cvflow.loading.transforms.apply import image_size, mirrored, moved
from cvflow.loading.transforms.geometry import Move, flip, resized, rotate, rotated, window, zoomed
from cvflow.ops.place import Place
from cvflow.ops.warp import warp
from cvflow.registry import Component, build
from cvflow.types import Sample

HEIGHT, WIDTH = 48, 64
NAN = float("nan")
SWAPS = {"left": "right", "right": "left", "disparity": "disparity_right", "disparity_right": "disparity"}


def picture(x: Tensor, y: Tensor) -> Tensor:
    """Smooth grey values CHW at any place, no two places alike."""
    return 128 + 50 * torch.sin(x / 5 + y / 9) + 50 * torch.cos(y / 6 - x / 11)[None]


def grid() -> tuple[Tensor, Tensor]:
    rows, columns = torch.meshgrid(torch.arange(HEIGHT).double(), torch.arange(WIDTH).double(), indexing="ij")
    return columns, rows


def flow_sample() -> Sample:
    """The second image is the first one turned, stretched and shifted: q = A p + t."""
    x, y = grid()
    affine, shift = torch.tensor([[1.05, 0.06], [-0.04, 0.97]]).double(), torch.tensor([2.3, -1.6]).double()
    to = torch.einsum("ij,jhw->ihw", affine, torch.stack([x, y])) + shift.view(2, 1, 1)
    back = torch.einsum("ij,jhw->ihw", torch.linalg.inv(affine), torch.stack([x, y]) - shift.view(2, 1, 1))
    images = {"first": picture(x, y), "second": picture(*back)}
    return Sample(
        "f",
        {k: v.round().to(torch.uint8) for k, v in images.items()},
        {"flow": Flow((to - torch.stack([x, y])).float())},
    )


def stereo_sample() -> Sample:
    """A slanted plane: d = 3 + 0.1 x, seen from both sides."""
    x, y = grid()
    left_x = (x + 3) / 0.9  # of what the right view has at x
    images = {"left": picture(x, y), "right": picture(left_x, y)}
    target = {
        "disparity": Disparity((3 + 0.1 * x)[None].float()),
        "disparity_right": Disparity((left_x - x)[None].float()),
    }
    return Sample("s", {k: v.round().to(torch.uint8) for k, v in images.items()}, target, swaps=SWAPS)


def inside(flow_B2HW: Tensor) -> Tensor:
    """Bx1xHxW bool: whether the flow points into the frame."""
    height, width = flow_B2HW.shape[2:]
    x = torch.arange(width) + flow_B2HW[:, 0]
    y = torch.arange(height)[:, None] + flow_B2HW[:, 1]
    return ((x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1))[:, None]


def gap(sample: Sample) -> float:
    """Mean difference in grey levels between the first image and the second looked up, where both
    are inside.
    """
    names = list(sample.images)
    if "flow" in sample.target:
        flow = sample.target["flow"].as_subclass(Tensor)
    else:
        names, disparity = ["left", "right"], sample.target["disparity"].as_subclass(Tensor)
        flow = torch.cat([-disparity, torch.zeros_like(disparity)])
    known = ~torch.isnan(flow).any(0)
    assert known.float().mean() > 0.2
    first, second = (sample.images[name].float() for name in names)
    seen = warp(second[None], flow.nan_to_num()[None])[0]
    outside = [
        F_nn.max_pool2d((x < 25).any(0).float()[None, None], 3, 1, 1) for x in (first, second)
    ]  # black came in at a border
    dark = (outside[0] + warp(outside[1], flow.nan_to_num()[None]))[0, 0] > 0
    kept = known & inside(flow.nan_to_num()[None])[0, 0] & ~dark
    kept[[0, -1]] = kept[:, [0, -1]] = False
    return float((first - seen).abs()[:, kept].mean())


SIZES = st.tuples(st.integers(30, 90), st.integers(30, 90))
CHANGES: dict[str, st.SearchStrategy[Callable[[Tensor], Tensor]]] = {
    "resized": SIZES.map(lambda size: lambda x: resized(x, size)),
    "window": st.tuples(st.integers(-9, 9), st.integers(-9, 9)).map(
        lambda at: lambda x: window(x, *at, (40, 50))
    ),
    "zoomed": st.floats(0.7, 1.4).map(lambda scale: lambda x: zoomed(x, scale)),
    "vertical": st.just(F.vertical_flip),
}
TURNS = st.floats(-40, 40).map(lambda angle: lambda x: rotated(x, angle))


@pytest.mark.parametrize("name", [*CHANGES, "rotated", "horizontal"])
@given(data=st.data())
@settings(max_examples=20, deadline=None)
def test_flow_follows_its_images(name: str, data: st.DataObject) -> None:
    change = data.draw({**CHANGES, "rotated": TURNS, "horizontal": st.just(F.horizontal_flip)}[name])
    sample = flow_sample()
    assert gap(moved(sample, Move(Place(image_size(sample)), change))) < 2


@pytest.mark.parametrize("name", CHANGES)
@given(data=st.data())
@settings(max_examples=20, deadline=None)
def test_disparity_follows_its_images(name: str, data: st.DataObject) -> None:
    sample = stereo_sample()
    assert gap(moved(sample, Move(Place(image_size(sample)), data.draw(CHANGES[name])))) < 2


@pytest.mark.parametrize("made", [flow_sample, stereo_sample])
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    "named",
    [
        {"name": "random_crop", "padding": 9},
        {"name": "random_resized_crop", "scale": (0.3, 1.0)},
        {"name": "zoom", "scale": (0.7, 1.4)},
        {"name": "vertical_flip", "p": 1.0},
        {"name": "horizontal_flip", "p": 1.0},
    ],
    ids=lambda named: named["name"],
)
def test_the_registered_transforms_move_maps_with_their_images(
    named: dict[str, Any], seed: int, made: Callable[[], Sample]
) -> None:
    transform = build("transform", Component(**named), Image(size=(HEIGHT, WIDTH)))
    torch.manual_seed(seed)
    before = made()
    after = transform(before)
    assert any(not torch.equal(after.images[name], image) for name, image in before.images.items())
    assert gap(after) < 2


def test_the_measure_sees_a_map_that_does_not_follow() -> None:
    for sample, name in ((flow_sample(), "flow"), (stereo_sample(), "disparity")):
        assert gap(sample) < 1
        sample.target[name] = sample.target[name] * -1
        assert gap(sample) > 10


def test_a_mirrored_pair_has_its_views_exchanged() -> None:
    before = stereo_sample()
    after = mirrored(before, flip(image_size(before)))
    assert torch.equal(after.images["left"], before.images["right"].flip(-1))
    assert torch.equal(after.target["disparity"], before.target["disparity_right"].flip(-1))
    assert gap(after) < 1.5
    assert gap(mirrored(after, flip(image_size(after)))) < 1


def test_a_mirrored_pair_needs_the_right_views_disparity() -> None:
    sample = stereo_sample()
    del sample.target["disparity_right"]
    with pytest.raises(RequestError, match=r"horizontal_flip.*without 'disparity_right'"):
        mirrored(sample, flip(image_size(sample)))


def test_a_stereo_pair_is_not_turned() -> None:
    with pytest.raises(RequestError, match="a rotation of a stereo pair.*Leave rotate out"):
        moved(stereo_sample(), rotate(image_size(stereo_sample()), 10))


@given(SIZES)
@settings(max_examples=20, deadline=None)
def test_the_unknown_does_not_spread(size: tuple[int, int]) -> None:
    """A map known at every other pixel or so: resizing keeps about that share, and no value is a blend."""
    disparity = torch.full((1, HEIGHT, WIDTH), 4.0)
    disparity[:, torch.rand(HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0)) < 0.5] = NAN
    found = resized(Disparity(disparity), size)
    assert isinstance(found, Disparity)
    known = ~torch.isnan(found.as_subclass(Tensor))
    assert 0.35 < known.float().mean() < 0.65
    assert found.as_subclass(Tensor)[known].tolist() == pytest.approx(
        [4.0 * size[1] / WIDTH] * int(known.sum())
    )


@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
def test_fit_moves_the_map(resize: str) -> None:
    fitted = compose(Image.model_validate({"size": (40, 72), "resize": resize}), [])(flow_sample())
    assert fitted.target["flow"].shape == (2, 40, 72)
    assert gap(fitted) < 1.5


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        ("disparity", np.full((2, 3), 1.5), None),
        ("disparity", np.full((3, 2), 1.5), "of 2x3 pixels for an image of 3x2"),
        ("disparity", np.full((2, 3), NAN), "without a known pixel"),
        ("disparity", np.array([[0, -2, 1], [1, 1, 1]]), "negative disparity at 1 pixels, down to -2"),
        ("disparity", np.array([[0, 9, 1], [1, 1, 1]]), "9 pixels in an image 3 wide"),
        ("disparity", np.array([[0, np.inf, 1], [1, 1, 1]]), "infinite at 1 pixels"),
        ("flow", np.ones((2, 3, 2)), None),
        ("flow", np.ones((3, 3, 2)), "of 3x3 pixels for an image of 3x2"),
        ("flow", np.full((2, 3, 2), NAN), "without a known pixel"),
        ("flow", np.full((2, 3, 2), 80.0), "113.137 pixels, longer than the image's diagonal of 4 at 100.0%"),
        (
            "flow",
            np.where(np.arange(12).reshape(2, 3, 2) == 3, NAN, 1.0),
            "one of its two components at 1 pixels",
        ),
        ("flow", np.full((2, 3, 2), np.inf), "infinite at 6 pixels"),
    ],
)
def test_faults_of_maps(kind: str, value: np.ndarray, said: str | None) -> None:
    found = KINDS[kind].fault(KINDS[kind].decode(KINDS[kind].encode(value.astype(np.float32))), (2, 3), ())
    assert (found is None) if said is None else (found is not None and said in found)
