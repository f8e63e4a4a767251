"""Losses of pixels and of boxes against their definitions, written out."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from cvflow.losses.box import box_loss
from cvflow.losses.pixel import dice, pixel_cross_entropy
from cvflow.ops.labels import VOID

LOGITS = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
MASK = torch.randint(0, 3, (2, 4, 5), generator=torch.Generator().manual_seed(1))
MASK[0, :2] = VOID


def test_void_counts_for_nothing() -> None:
    loss = pixel_cross_entropy(LOGITS, MASK)
    known = MASK != VOID
    by_hand = -LOGITS.log_softmax(1).permute(0, 2, 3, 1)[known].gather(1, MASK[known][:, None])
    assert loss.count == known.sum() == 30
    torch.testing.assert_close(loss.sum, by_hand.sum())


def test_weights_are_torch_s() -> None:
    weight = torch.tensor([0.5, 1.0, 4.0])
    loss = pixel_cross_entropy(LOGITS, MASK.to(torch.uint8), weight)
    torch.testing.assert_close(
        loss.sum / loss.count, F.cross_entropy(LOGITS, MASK, weight, ignore_index=VOID)
    )


def test_only_void_is_a_loss_of_nothing() -> None:
    nothing = torch.full((2, 4, 5), VOID)
    for loss in (pixel_cross_entropy(LOGITS, nothing), dice(LOGITS, nothing)):
        assert loss.sum == loss.count == 0


def test_dice_is_its_definition() -> None:
    loss, said = dice(LOGITS, MASK), LOGITS.softmax(1)
    terms = []
    for image in range(2):
        known = MASK[image] != VOID
        for c in MASK[image][known].unique().tolist():
            truth, p = (MASK[image] == c)[known].float(), said[image, c][known]
            terms.append(1 - 2 * (truth * p).sum() / (truth.sum() + p.sum()))
    assert loss.count == len(terms)
    torch.testing.assert_close(loss.sum, torch.stack(terms).sum())


def test_a_perfect_answer_has_no_dice_loss() -> None:
    labels = MASK.clamp(max=2)
    assert dice(50 * F.one_hot(labels, 3).permute(0, 3, 1, 2).float(), labels).sum < 1e-4


def test_the_loss_of_parts_is_that_of_the_whole() -> None:
    for whole, parts in [
        (kind(LOGITS, MASK), [kind(LOGITS[i : i + 1], MASK[i : i + 1]) for i in range(2)])
        for kind in (pixel_cross_entropy, dice)
    ]:
        torch.testing.assert_close(sum(part.sum for part in parts), whole.sum)
        assert sum(part.count for part in parts) == whole.count


BOXES = torch.tensor([[0.1, 0.2, 0.5, 0.6], [0.0, 0.0, 1.0, 1.0]])


def test_giou_by_hand() -> None:
    """A box moved by half its width: IoU 1/3, hull 1.5 boxes all covered, so GIoU = IoU."""
    moved = BOXES[:1] + torch.tensor([0.2, 0.0, 0.2, 0.0])
    assert box_loss("giou", moved, BOXES[:1]).sum.item() == pytest.approx(2 / 3, abs=1e-5)
    apart = BOXES[:1] + torch.tensor([0.4, 0.0, 0.4, 0.0])  # edge to edge
    assert box_loss("giou", apart, BOXES[:1]).sum.item() == pytest.approx(1.0, abs=1e-5)


def test_smooth_l1_by_hand() -> None:
    """Differences of 0.05 (square below 0.1) and 0.3 (linear), in units of 0.1, over the four edges."""
    said = BOXES[:1] + torch.tensor([0.05, 0.0, 0.3, 0.0])
    assert box_loss("smooth_l1", said, BOXES[:1]).sum.item() == pytest.approx(
        (0.5 * 0.5**2 + 3 - 0.5) / 4, abs=1e-5
    )


@pytest.mark.parametrize("kind", ["giou", "smooth_l1"])
def test_a_box_that_left_the_image_counts_for_nothing(kind: str) -> None:
    gone = torch.tensor([[0.0, 0.3, 0.0, 0.7], [0.0, 0.0, 1.0, 1.0]])
    loss = box_loss(kind, BOXES.clone().requires_grad_(), gone)
    assert loss.count == 1
    alone = box_loss(kind, BOXES[1:], gone[1:])
    torch.testing.assert_close(loss.sum.detach(), alone.sum)
