"""Every backbone keeps its word: channels, strides, features, gradients, parameter counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from cvflow.errors import RequestError
from cvflow.models.backbones.base import Backbone
from cvflow.registry import Component, check, names

Make = Callable[..., Backbone]

CASES: list[tuple[str, dict[str, Any], int, tuple[int, int]]] = [
    ("lenet", {}, 1, (28, 28)),
    ("lenet", {"activation": "tanh", "pool": "avg"}, 3, (32, 20)),
    ("conv4", {"width": 8}, 1, (28, 44)),
    ("mlp", {}, 3, (8, 12)),
    ("mlp", {"hidden": (20, 7)}, 1, (8, 8)),
    ("cifar_plain", {}, 3, (32, 32)),
    ("unet", {"width": 4, "levels": 3}, 1, (32, 24)),
    ("cifar_resnet", {"depth": 32}, 1, (32, 24)),
    ("torchvision", {"model": "mobilenet_v2"}, 1, (64, 96)),
    ("torchvision", {"model": "mobilenet_v2", "output_stride": 8}, 3, (64, 64)),
    ("torchvision", {"model": "squeezenet1_0"}, 3, (64, 64)),
    ("torchvision", {"model": "squeezenet1_1"}, 1, (64, 64)),
    ("torchvision", {"model": "googlenet"}, 3, (64, 64)),
    ("torchvision", {"model": "resnet18"}, 1, (64, 64)),
    ("torchvision", {"model": "alexnet"}, 3, (96, 64)),
    ("timm", {"model": "test_resnet"}, 1, (64, 96)),
    ("timm", {"model": "mobilenetv3_small_050"}, 3, (64, 64)),
    ("timm", {"model": "test_vit"}, 3, (64, 64)),
]


def test_every_registered_backbone_is_among_the_cases() -> None:
    assert {case[0] for case in CASES} == set(names("backbone"))


@pytest.mark.parametrize(("name", "options", "channels", "size"), CASES)
def test_maps_features_and_gradients(
    backbone: Make, name: str, options: dict[str, Any], channels: int, size: tuple[int, int]
) -> None:
    net = backbone(name, channels, size, **options)
    x_BCHW = torch.randn(2, channels, *size)
    maps = net(x_BCHW)
    assert [m.shape[1] for m in maps] == list(net.channels)
    assert len(net.strides) == len(maps)
    for m, stride in zip(maps, net.strides, strict=True):
        for got, side in zip(m.shape[2:], size, strict=True):
            # rounded up, or smaller by an unpadded border
            assert -3 <= got - side / stride < 1
    features = net.embed(x_BCHW)
    assert features.shape == (2, net.num_features)
    (features.square().sum() + maps[-1].square().sum()).backward()
    stem = next(net.parameters())
    assert stem.grad is not None
    assert stem.grad.abs().sum() > 0


@pytest.mark.parametrize(("depth", "millions"), [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85), (110, 1.7)])
def test_cifar_resnets_have_the_parameters_of_the_paper(
    classifier: Callable[..., nn.Module], depth: int, millions: float
) -> None:
    model = classifier({"name": "cifar_resnet", "depth": depth})
    assert count(model) / 1e6 == pytest.approx(millions, rel=0.025)


def test_shortcuts_have_no_parameters_but_an_effect(backbone: Make) -> None:
    residual, plain = backbone("cifar_resnet").eval(), backbone("cifar_plain").eval()
    plain.load_state_dict(residual.state_dict())
    x_BCHW = torch.randn(1, 3, 32, 32)
    assert not torch.allclose(residual.embed(x_BCHW), plain.embed(x_BCHW))


def test_option_a_shortcut_subsamples_and_pads_with_zeros(backbone: Make) -> None:
    block = backbone("cifar_resnet").eval().get_submodule("layer2.0")
    # nothing but the shortcut is left
    nn.init.zeros_(block.get_parameter("bn2.weight"))
    x_BCHW = torch.rand(1, 16, 8, 8)
    out = block(x_BCHW)
    assert torch.equal(out[:, 8:24], x_BCHW[:, :, ::2, ::2])
    assert out[:, :8].abs().sum() == out[:, 24:].abs().sum() == 0


@pytest.mark.parametrize(("side", "weights"), [(128, 24_576_000), (224, 75_264_000)])
def test_first_layer_of_the_mlp(backbone: Make, side: int, weights: int) -> None:
    with torch.device("meta"):
        assert next(backbone("mlp", size=(side, side)).parameters()).numel() == weights


def test_googlenet_has_about_a_twelfth_of_alexnet(backbone: Make) -> None:
    """The count depends on the edition.

    60 M / 5 M in the paper's words, 57.0 M / 5.6 M before the classifier in torchvision's.
    """
    with torch.device("meta"):
        alexnet = backbone("torchvision", size=(224, 224), model="alexnet")
        googlenet = backbone("torchvision", size=(224, 224), model="googlenet")
    assert count(alexnet) + 4097 * 1000 == 61_100_840
    assert count(googlenet) + 1025 * 1000 == 6_624_904
    assert 10 < count(alexnet) / count(googlenet) < 13


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("cifar_resnet", {"depth": 21}, "8, 14, 20, 32, 44, 56 or 110"),
        ("timm", {"model": "resnet1"}, "Did you mean 'resnet18'"),
        ("timm", {"model": "resnet18.none"}, "resnet18.a1_in1k"),
        ("torchvision", {"model": "alexnt"}, "'alexnet'"),
        ("mlp", {"hidden": []}, "at least 1 item"),
        ("lenet", {"activation": "relUU"}, "'relu' or 'tanh'"),
    ],
)
def test_wrong_options_are_refused(name: str, options: dict[str, Any], expected: str) -> None:
    _, (fault,) = check("backbone", Component(name=name, **options), "model.backbone")
    assert expected in str(fault)
    assert fault.where == f"model.backbone.{next(iter(options))}"


@pytest.mark.parametrize(
    ("name", "options", "side"), [("lenet", {}, 3), ("torchvision", {"model": "alexnet"}, 32)]
)
def test_an_image_that_shrinks_to_nothing_is_refused(
    backbone: Make, name: str, options: dict[str, Any], side: int
) -> None:
    with pytest.raises(RequestError, match=f"image.size: got {side}x{side}, expected at least"):
        backbone(name, size=(side, side), **options)


def test_pretrained_without_network_names_the_way(
    backbone: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    from huggingface_hub import constants

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    for name, model in [("torchvision", "squeezenet1_1"), ("timm", "test_resnet")]:
        with pytest.raises(RequestError, match="weights: FILE.safetensors"):
            backbone(name, model=model, size=(64, 64), pretrained=True)


def count(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())
