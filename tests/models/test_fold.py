"""Norms folded into convolutions: faster, the same answers, and left alone where they cannot be."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from cvflow.models.fold import folded


def answers(model: nn.Module) -> Mapping[str, Tensor]:
    return {"maps": model(torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)))}


def trained(model: nn.Module) -> nn.Module:
    """With statistics and weights as no fresh one has them, in evaluation mode."""
    generator = torch.Generator().manual_seed(1)
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            for tensor in (part.running_mean, part.running_var, part.weight.data, part.bias.data):
                assert tensor is not None
                tensor.uniform_(0.5, 2.0, generator=generator)
    return model.eval()


def norms(model: nn.Module) -> int:
    return sum(isinstance(part, nn.BatchNorm2d) for part in model.modules())


class Net(nn.Module):
    """A convolution and a norm."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 3, padding=1, bias=False), nn.BatchNorm2d(3)

    def forward(self, images: Tensor) -> Tensor:
        result: Tensor = self.norm(self.conv(images))
        return result


class Between(Net):
    def forward(self, images: Tensor) -> Tensor:
        return self.norm(self.conv(images).relu_())  # type: ignore[no-any-return]  # in place: it is still the convolution's output


class Twice(Net):
    def forward(self, images: Tensor) -> Tensor:
        return self.norm(self.conv(self.conv(images)))  # type: ignore[no-any-return]


class Shared(Net):
    """The convolution's output goes another way as well, which no hook sees."""

    def forward(self, images: Tensor) -> Tensor:
        maps = self.conv(images)
        return self.norm(maps) + maps  # type: ignore[no-any-return]


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_answers_stay_and_the_norms_go(mode: type[torch.no_grad]) -> None:
    model = trained(nn.Sequential(Net(), nn.ReLU(), nn.Conv2d(3, 5, 3, stride=2), nn.BatchNorm2d(5)))
    model.train()
    with mode():
        lean = folded(model, answers)
        model.eval()
        assert (norms(model), norms(lean)) == (2, 0)
        torch.testing.assert_close(answers(lean)["maps"], answers(model)["maps"], rtol=1e-5, atol=1e-5)


def test_a_norm_that_comes_first_stays() -> None:
    lean = folded(trained(nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5))), answers)
    assert [type(part) for part in lean.children()] == [nn.BatchNorm2d, nn.Conv2d, nn.Identity]


class Forked(Net):
    """Two norms of one convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.other = nn.BatchNorm2d(3)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.conv(images)
        return self.norm(maps) - 2 * self.other(maps)  # type: ignore[no-any-return]


@pytest.mark.parametrize("kind", [Between, Twice])
def test_what_does_not_feed_the_norm_alone_and_unchanged_stays(kind: type[Net]) -> None:
    model = trained(nn.Sequential(kind(), Net()))
    lean = folded(model, answers)
    assert (norms(model), norms(lean)) == (2, 1)
    torch.testing.assert_close(answers(lean)["maps"], answers(model)["maps"], rtol=1e-5, atol=1e-5)


def test_of_two_norms_on_one_convolution_both_stay() -> None:
    assert norms(folded(trained(nn.Sequential(Forked(), Net())), answers)) == 2


@pytest.mark.parametrize("saturated", [False, True])
def test_a_model_whose_answers_would_change_is_given_as_it_is(saturated: bool) -> None:
    """Saturated answers are those of any model; that another layer saw the maps is known all the same."""
    model = trained(nn.Sequential(Shared(), nn.Hardtanh(-1e-9, 1e-9)) if saturated else Shared())
    assert folded(model, answers) is model
    assert norms(model) == 1


def test_a_model_with_hooks_is_given_as_it_is() -> None:
    model = trained(Net())
    model.norm.register_forward_hook(lambda *seen: None)
    assert folded(model, answers) is model
