"""torchvision's and timm's own networks, with the same weights, give the same answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models import get_model

from cvflow.models.backbones.from_torchvision import adaptive_mean, pixel_stats
from cvflow.models.classifier import Classifier
from cvflow.models.normalize import IMAGENET
from cvflow.models.weights import load_weights


def images(side: int = 64) -> Tensor:
    return torch.randint(0, 256, (2, 3, side, side), dtype=torch.uint8)


def ready(net: nn.Module) -> nn.Module:
    """Batch norms with statistics of their own, so that none of them is the identity."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    return net.eval()


def imagenet(images_BCHW: Tensor) -> Tensor:
    mean, std = (torch.tensor(v).view(-1, 1, 1) for v in IMAGENET)
    return (images_BCHW / 255 - mean) / std


@pytest.mark.parametrize("model", ["alexnet", "mobilenet_v2", "resnet18", "googlenet"])
def test_torchvision_logits(classifier: Callable[..., Classifier], tmp_path: Path, model: str) -> None:
    options = (
        {"aux_logits": False, "transform_input": False, "init_weights": False} if model == "googlenet" else {}
    )
    theirs = ready(get_model(model, num_classes=10, **options))
    save_file(theirs.state_dict(), tmp_path / "w.safetensors")
    ours = classifier({"name": "torchvision", "model": model}, size=(64, 64), normalize="imagenet").eval()
    report = load_weights(ours, tmp_path / "w.safetensors")
    assert not report.missing + report.unexpected + report.mismatched
    x = images()
    torch.testing.assert_close(ours(x), theirs(imagenet(x)))


@pytest.mark.parametrize("shape", [(1, 1), (6, 7), (13, 9), (6, 20)])
def test_adaptive_mean(shape: tuple[int, int]) -> None:
    x_BCHW = torch.randn(2, 3, *shape)
    torch.testing.assert_close(adaptive_mean(x_BCHW, (6, 7)), nn.AdaptiveAvgPool2d((6, 7))(x_BCHW))


def test_squeezenet_features(classifier: Callable[..., Classifier], tmp_path: Path) -> None:
    theirs = get_model("squeezenet1_1", num_classes=10).eval()
    save_file(theirs.state_dict(), tmp_path / "w.safetensors")
    ours = classifier({"name": "torchvision", "model": "squeezenet1_1"}, size=(64, 64)).eval()
    report = load_weights(ours, tmp_path / "w.safetensors")
    assert report.mismatched == (
        "head.weight 10x512, in the file 10x512x1x1",
    )  # its head is a convolution with a ReLU
    x = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(ours.backbone(x)[-1], theirs.features(x))


def test_googlenet_statistics_are_those_of_its_input_transform() -> None:
    """torchvision's GoogLeNet turns ImageNet-normalised input into what its weights were trained with.

    Ours normalises so at once.
    """
    net = get_model("googlenet", aux_logits=False, transform_input=True, init_weights=False)
    mean, std = (torch.tensor(v).view(-1, 1, 1) for v in pixel_stats("googlenet"))
    x = images()
    torch.testing.assert_close((x / 255 - mean) / std, net._transform_input(imagenet(x)))


@pytest.mark.parametrize("model", ["test_resnet", "mobilenetv3_small_050", "test_vit"])
def test_timm_logits(classifier: Callable[..., Classifier], tmp_path: Path, model: str) -> None:
    size = {"img_size": 64} if model == "test_vit" else {}
    theirs = ready(timm.create_model(model, num_classes=10, **size))
    save_file(theirs.state_dict(), tmp_path / "w.safetensors")
    ours = classifier({"name": "timm", "model": model}, size=(64, 64), normalize="imagenet").eval()
    report = load_weights(ours, tmp_path / "w.safetensors")
    assert not report.missing + report.unexpected + report.mismatched
    x = images()
    torch.testing.assert_close(ours(x), theirs(imagenet(x)))
