"""Backbones of torchvision, with its names for the weights.

All of these run straight from step to step, so a level is the last step before the resolution falls. Sources: AlexNet
(Krizhevsky, 2014, arXiv 1404.5997), VGG (Simonyan and Zisserman, 2014, arXiv 1409.1556), GoogLeNet (Szegedy et al., 2014,
arXiv 1409.4842), ResNet (He et al., 2015, arXiv 1512.03385), SqueezeNet (Iandola et al., 2016, arXiv 1602.07360),
MobileNetV2 (Sandler et al., 2018, arXiv 1801.04381).
"""

from __future__ import annotations

from collections.abc import Container
from contextlib import nullcontext
from itertools import pairwise
from math import log2
from typing import Any, Literal

import torch
from torch import Tensor, nn

from cvflow.errors import Fault, RequestError
from cvflow.models.backbones.base import Backbone, PixelStats, fetching, too_small
from cvflow.models.fold import traced_pairs
from cvflow.models.layers import ConvNorms
from cvflow.registry import register

# fmt: off
Name = Literal[
    "alexnet", "googlenet", "mobilenet_v2", "squeezenet1_0", "squeezenet1_1",
    "vgg11", "vgg13", "vgg16", "vgg19", "vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn",
    "resnet18", "resnet34", "resnet50", "resnet101", "resnet152",
]
# fmt: on
NOMINAL = 512
"""Side of the image, in pixels, on which strides are read off: large enough that unpadded borders do not blur them."""


@register("backbone", "torchvision")
def torchvision(
    in_channels: int,
    image_size: tuple[int, int],
    *,
    model: Name = "mobilenet_v2",
    pretrained: bool = False,
    output_stride: Literal[8, 16, 32] = 32,
) -> Backbone:
    """A network of torchvision; pretrained: its ImageNet weights, fetched or from torch's cache.

    output_stride: below 32, the last convolutions are dilated instead of strided (Yu et al., 2017, arXiv 1705.09914): ResNets, MobileNetV2.
    """
    shapes = step_shapes(model, (NOMINAL, NOMINAL))
    try:
        step_shapes(model, image_size)
    except RuntimeError as error:
        raise too_small(model, image_size, 64) from error
    ends = [i for i, (here, after) in enumerate(pairwise([*shapes, (0, 0, 0, 0)])) if after[2] < here[2]]
    with fetching(model) if pretrained else nullcontext():
        backbone = TorchvisionBackbone(load(model, pretrained), ends)
    backbone.channels = tuple(shapes[i][1] for i in ends)
    backbone.strides = tuple(2 ** round(log2(NOMINAL / shapes[i][2])) for i in ends)
    if output_stride < backbone.strides[-1]:
        dilate(backbone, model, output_stride)
    backbone.pixel_stats = pixel_stats(model) if pretrained else None
    adapt_stem(backbone, in_channels)
    return backbone


class TorchvisionBackbone(Backbone):
    """The steps before the classifier; AlexNet and VGG embed with their own fully connected layers.

    ends: the indices of the steps whose outputs are the levels, the last step among them.
    """

    classifier: nn.Module

    def __init__(self, net: nn.Module, ends: Container[int]) -> None:
        super().__init__()
        self.ends = ends
        parts = dict(net.named_children())
        self.has_fc = "classifier.6" in dict(net.named_modules())  # a stack of layers, not just the last one
        head = "classifier.6" if self.has_fc else "fc" if "fc" in parts else "classifier.1"
        last: Any = net.get_submodule(
            head
        )  # linear, or SqueezeNet's 1x1 convolution: both weights are classes x features x ...
        self.head_keys, self.num_features = (head,), int(last.weight.shape[1])
        if self.has_fc:
            parts["classifier"] = parts["classifier"][:-1]  # type: ignore[index]
            self.slides = True
            self.pooled: tuple[int, int] = parts["avgpool"].output_size  # type: ignore[assignment]
            kept = ["features", "classifier"]
        else:
            kept = (
                ["features"]
                if "features" in parts
                else [n for n in parts if n not in ("avgpool", "dropout", "fc", "aux1", "aux2")]
            )
        for name in kept:
            self.add_module(name, parts[name])

    def forward(self, x_BCHW: Tensor) -> list[Tensor]:
        maps = []
        for i, step in enumerate(getattr(self, "features", None) or self.children()):
            x_BCHW = step(x_BCHW)
            if i in self.ends:
                maps.append(x_BCHW)
        return maps

    @property
    def conv_norms(self) -> ConvNorms:
        return traced_pairs(self)

    def embed(self, x_BCHW: Tensor) -> Tensor:
        if not self.has_fc:
            return super().embed(x_BCHW)
        features: Tensor = self.classifier(adaptive_mean(self.forward(x_BCHW)[-1], self.pooled).flatten(1))
        return features

    def slide(self, last_BCHW: Tensor) -> Tensor:
        side = self.pooled
        for layer in self.classifier.children():
            if isinstance(layer, nn.Linear):
                up, left = ((length - 1) // 2 for length in side)
                bordered = nn.functional.pad(last_BCHW, (left, side[1] // 2, up, side[0] // 2))
                last_BCHW, side = (
                    nn.functional.conv2d(
                        bordered, layer.weight.view(len(layer.weight), -1, *side), layer.bias
                    ),
                    (1, 1),
                )
            else:
                last_BCHW = layer(last_BCHW)
        return last_BCHW

    def maps_only(self) -> None:
        if self.has_fc:
            del self.classifier


def adaptive_mean(x_BCHW: Tensor, size: tuple[int, int]) -> Tensor:
    """``AdaptiveAvgPool2d`` as two matrix products: its own gradient has no deterministic kernel on CUDA."""

    def means(length: int, bins: int) -> Tensor:
        at, i = torch.arange(length, device=x_BCHW.device), torch.arange(bins, device=x_BCHW.device)[:, None]
        inside = (at >= i * length // bins) & (at * bins < (i + 1) * length)
        return (inside / inside.sum(1, keepdim=True)).to(x_BCHW.dtype)

    if x_BCHW.shape[2:] == size:
        return x_BCHW
    return means(x_BCHW.shape[2], size[0]) @ x_BCHW @ means(x_BCHW.shape[3], size[1]).T


def dilate(backbone: TorchvisionBackbone, model: Name, output_stride: int) -> None:
    """Where a convolution would fall below the stride, it does not, and those after it are spread out: weights and reach stay."""
    if not model.startswith(("resnet", "mobilenet")):
        expected = "32 for this network; 8 or 16 for a ResNet or MobileNetV2"
        raise RequestError(Fault("model.backbone.output_stride", f"{output_stride} for {model}", expected))
    stride, dilation = 1, 1
    for layer in backbone.modules():
        if isinstance(layer, nn.MaxPool2d):
            stride *= 2
        elif isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1):
            layer.stride = (
                layer.stride if dilation == 1 else (1, 1)
            )  # of a shortcut, which comes after the block's 3x3
        elif isinstance(layer, nn.Conv2d):
            layer.dilation, before = (dilation, dilation), layer.stride[0]
            layer.padding = (dilation * (layer.kernel_size[0] // 2),) * 2
            if before > 1 and stride * before > output_stride:
                layer.stride, dilation = (1, 1), dilation * before
            else:
                stride *= before
    backbone.strides = tuple(min(stride, output_stride) for stride in backbone.strides)


def step_shapes(model: Name, size: tuple[int, int]) -> list[tuple[int, ...]]:
    """The BCHW shape after every step, without memory or arithmetic; RuntimeError if the image is too small."""
    with torch.device("meta"):
        return [
            tuple(x.shape)
            for x in TorchvisionBackbone(load(model, False), range(999))(torch.empty(1, 3, *size))
        ]


def load(model: Name, pretrained: bool) -> nn.Module:
    """torchvision's own network, GoogLeNet without its auxiliary classifiers."""
    from torchvision.models import get_model

    options: dict[str, Any] = {"transform_input": False} if model == "googlenet" else {}
    if model == "googlenet" and not pretrained:  # with weights, torchvision insists on setting these itself
        options |= {"aux_logits": False, "init_weights": True}
    net: nn.Module = get_model(model, weights="DEFAULT" if pretrained else None, **options)
    return net


def pixel_stats(model: Name) -> PixelStats:
    """(mean, std) of the published weights' training; GoogLeNet's come from TensorFlow and have their own."""
    if model == "googlenet":
        return (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
    from torchvision.models import get_model_weights

    preset = get_model_weights(model).DEFAULT.transforms()
    return tuple(preset.mean), tuple(preset.std)


def adapt_stem(net: nn.Module, in_channels: int) -> None:
    """Give the first convolution another number of input channels, keeping its response to grey images."""
    conv = next(m for m in net.modules() if isinstance(m, nn.Conv2d))
    if conv.in_channels == in_channels:
        return
    grey = conv.weight.detach().sum(1, keepdim=True)
    conv.weight = nn.Parameter(grey.repeat(1, in_channels, 1, 1) / in_channels)
    conv.in_channels = in_channels
