"""The localizer: boxes that follow the thing, whatever the backbone's map."""

from __future__ import annotations

import pytest
import torch

from cvflow.config import Image
from cvflow.models.localizer import Localizer, places
from cvflow.registry import Component, build
from cvflow.types import DatasetInfo

INFO = DatasetInfo("localization", ("a", "b"), {}, (0.5,) * 3, (0.25,) * 3, "")


def localizer(**options: object) -> Localizer:
    torch.manual_seed(0)
    return build("model", Component(name="localizer", **options), Image(size=(32, 48)), INFO)


def test_places_are_where_the_maps_look() -> None:
    where = torch.zeros(1, 4, 5, 9)
    for edge, (row, column) in enumerate([(2, 1), (0, 3), (4, 6), (3, 8)]):
        where[0, edge, row, column] = 1
    assert places(where).tolist() == [[1 / 8, 0 / 4, 6 / 8, 3 / 4]]


@pytest.mark.parametrize("backbone", ["cifar_resnet", "lenet", "mlp"])
def test_boxes_have_their_edges_in_order(backbone: str) -> None:
    net = localizer(backbone=backbone)
    outputs = net(torch.randint(0, 256, (6, 3, 32, 48), dtype=torch.uint8))
    assert outputs["logits"].shape == (6, 2)
    assert (outputs["boxes"][:, :2] <= outputs["boxes"][:, 2:]).all()
    (outputs["logits"].square().sum() + outputs["boxes"].sum()).backward()
    assert [name for name, p in net.named_parameters() if p.grad is None] == []


def test_a_bright_square_is_learnt_in_a_few_steps() -> None:
    """Boxes at new places, too: the answer moves with the square."""
    net = localizer(backbone={"name": "unet", "width": 8, "levels": 3})
    optimizer = torch.optim.Adam(net.parameters(), 0.01)

    def scenes(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        generator = torch.Generator().manual_seed(seed)
        images = torch.randint(0, 60, (16, 3, 32, 48), dtype=torch.uint8, generator=generator)
        boxes = torch.empty(16, 4)
        for image, box in zip(images, boxes, strict=True):
            top, left = (int(torch.randint(0, most, (), generator=generator)) for most in (20, 32))
            image[:, top : top + 12, left : left + 16] = 220
            box[:] = torch.tensor([left / 48, top / 32, (left + 16) / 48, (top + 12) / 32])
        return images, boxes

    for step in range(60):
        images, boxes = scenes(step)
        optimizer.zero_grad()
        (net(images)["boxes"] - boxes).abs().mean().backward()
        optimizer.step()
    net.eval()
    images, boxes = scenes(1000)
    with torch.no_grad():
        assert (net(images)["boxes"] - boxes).abs().mean() < 0.05
