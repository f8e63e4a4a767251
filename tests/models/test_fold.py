"""Norms folded into convolutions: faster, the same answers, and left alone where they cannot be."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor, nn

from cvflow.models.backbones.base import Backbone
from cvflow.models.fold import folded, norm_pairs, traced_pairs
from cvflow.models.layers import ConvNorms


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

    conv_norms: ConvNorms = (("conv", "norm"),)

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 3, padding=1, bias=False), nn.BatchNorm2d(3)

    def forward(self, images: Tensor) -> Tensor:
        result: Tensor = self.norm(self.conv(images))
        return result


class Unstated(Net):
    conv_norms = ()


class Between(Net):
    """A ReLU in place, so that the norm reads the convolution's tensor, but not its output."""

    def forward(self, images: Tensor) -> Tensor:
        return self.norm(self.conv(images).relu_())  # type: ignore[no-any-return]


class Twice(Net):
    def forward(self, images: Tensor) -> Tensor:
        return self.norm(self.conv(self.conv(images)))  # type: ignore[no-any-return]


class Shared(Net):
    """The convolution's output goes another way as well."""

    def forward(self, images: Tensor) -> Tensor:
        maps = self.conv(images)
        return self.norm(maps) + maps  # type: ignore[no-any-return]


class Forked(Net):
    """Two norms of one convolution."""

    conv_norms = (("conv", "norm"), ("conv", "other"))

    def __init__(self) -> None:
        super().__init__()
        self.other = nn.BatchNorm2d(3)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.conv(images)
        return self.norm(maps) - 2 * self.other(maps)  # type: ignore[no-any-return]


class Branching(Net):
    """Which way it goes is known when it runs."""

    def forward(self, images: Tensor) -> Tensor:
        maps = self.norm(self.conv(images))
        return maps if maps.sum() > 0 else -maps  # type: ignore[no-any-return]


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


def test_a_pair_that_nobody_states_stays() -> None:
    assert norm_pairs(nn.Sequential(Unstated(), Net())) == [("1.conv", "1.norm")]


def test_of_two_norms_on_one_convolution_both_stay() -> None:
    assert norms(folded(trained(nn.Sequential(Forked(), Net())), answers)) == 2


def test_a_pair_that_stands_in_two_places_stays() -> None:
    net = Net()
    assert norm_pairs(nn.Sequential(net, net)) == []
    assert norm_pairs(nn.Sequential(net.conv, net.norm, nn.ReLU(), net.conv)) == []


@pytest.mark.parametrize("kind", [Between, Twice, Shared])
def test_a_model_whose_statement_is_wrong_is_given_as_it_is(kind: type[Net]) -> None:
    model = trained(nn.Sequential(kind(), Net()))
    assert folded(model, answers) is model
    assert norms(model) == 2


@pytest.mark.parametrize("kind", [Net, Shared])
def test_a_model_that_finds_nothing_in_the_example_is_given_as_it_is(kind: type[Net]) -> None:
    """Empty answers are equal whatever the weights; those to an image that shows something would not be."""

    def finds(model: nn.Module) -> Mapping[str, Tensor]:
        maps = answers(model)["maps"]
        return {"scores": maps[maps > 1e6], "sum": maps.sum()}

    def finds_padded(model: nn.Module) -> Mapping[str, Tensor]:
        scores = finds(model)["scores"]
        return {"scores": torch.cat([scores, torch.zeros(5)])[:5]}

    model = trained(kind())
    assert finds(model)["scores"].shape == (0,)
    assert folded(model, finds) is model
    assert folded(model, finds_padded) is model
    assert folded(model, lambda _: {}) is model


def test_a_model_with_hooks_is_given_as_it_is() -> None:
    model = trained(Net())
    model.norm.register_forward_hook(lambda *seen: None)
    assert folded(model, answers) is model


def test_a_network_s_own_code_states_its_pairs() -> None:
    assert traced_pairs(nn.Sequential(Unstated(), Net())) == (("0.conv", "0.norm"), ("1.conv", "1.norm"))


@pytest.mark.parametrize("kind", [Between, Twice, Shared, Forked, Branching])
def test_traced_pairs_are_convolutions_that_one_norm_alone_reads(kind: type[Net]) -> None:
    assert traced_pairs(kind()) == ()


@pytest.mark.parametrize(
    ("name", "model", "pairs"),
    [("timm", "test_resnet", 15), ("torchvision", "resnet18", 20), ("torchvision", "googlenet", 57)],
)
def test_a_library_s_backbone_states_all_its_pairs(
    backbone: Callable[..., Backbone], name: str, model: str, pairs: int
) -> None:
    assert len(norm_pairs(backbone(name, size=(64, 64), model=model))) == pairs


def test_what_a_library_marks_as_not_traceable_is_passed_over(backbone: Callable[..., Backbone]) -> None:
    """Its padding depends on the image's size."""
    assert len(norm_pairs(backbone("timm", size=(64, 64), model="vgg11_bn"))) == 8
