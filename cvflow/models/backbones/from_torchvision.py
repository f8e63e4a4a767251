"""Backbones of torchvision, with its names for the weights.

All of these run straight from step to step, so a level is the last step before the resolution
falls. Sources: AlexNet (Krizhevsky, 2014, arXiv 1404.5997), VGG (Simonyan and Zisserman, 2014,
arXiv 1409.1556), GoogLeNet (Szegedy et al., 2014, arXiv 1409.4842), ResNet (He et al., 2015,
arXiv 1512.03385), SqueezeNet (Iandola et al., 2016, arXiv 1602.07360), MobileNetV2 (Sandler et
al., 2018, arXiv 1801.04381).
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
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
CLASSIFIER_PARTS = ("avgpool", "dropout", "fc", "aux1", "aux2")
NOMINAL = 512
"""Side of the image, in pixels, on which strides are read off.

It is large enough that unpadded borders do not blur them.
"""


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

    output_stride: below 32, the last convolutions are dilated instead of strided (Yu et al., 2017,
    arXiv 1705.09914): ResNets, MobileNetV2.
    """
    shapes = step_shapes(model, (NOMINAL, NOMINAL))
    try:
        step_shapes(model, image_size)
    except RuntimeError as error:
        raise too_small(model, image_size, 64) from error
    ends = level_ends(shapes)
    with fetching(model) if pretrained else nullcontext():
        backbone = TorchvisionBackbone(load(model, pretrained), ends)
    levels = [shapes[i] for i in ends]
    backbone.channels = tuple(channels for _, channels, *_ in levels)
    backbone.strides = tuple(nominal_stride(height) for _, _, height, _ in levels)
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
        head = head_name(net)
        self.has_fc = head == "classifier.6"  # a stack of layers, not just the last one
        # Linear, or SqueezeNet's 1x1 convolution: both weights are classes x features x ...
        last: Any = net.get_submodule(head)
        self.head_keys = (head,)
        self.num_features = int(last.weight.shape[1])
        if self.has_fc:
            parts["classifier"] = parts["classifier"][:-1]  # type: ignore[index]
            self.slides = True
            self.pooled: tuple[int, int] = parts["avgpool"].output_size  # type: ignore[assignment]
        for name in self._part_names(parts):
            self.add_module(name, parts[name])

    def _part_names(self, parts: Mapping[str, nn.Module]) -> list[str]:
        """Return the parts of torchvision's network that are no classifier, in their order."""
        if self.has_fc:
            return ["features", "classifier"]
        if "features" in parts:
            return ["features"]
        return [name for name in parts if name not in CLASSIFIER_PARTS]

    def forward(self, x_BCHW: Tensor) -> list[Tensor]:
        maps = []
        steps = getattr(self, "features", None) or self.children()
        for i, step in enumerate(steps):
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
        pooled = adaptive_mean(self.forward(x_BCHW)[-1], self.pooled)
        features: Tensor = self.classifier(pooled.flatten(1))
        return features

    def slide(self, last_BCHW: Tensor) -> Tensor:
        x_BCHW = last_BCHW
        size = self.pooled
        for layer in self.classifier.children():
            if isinstance(layer, nn.Linear):
                x_BCHW = convolved(x_BCHW, layer, size)
                size = (1, 1)  # only the first layer reads more than one pixel
            else:
                x_BCHW = layer(x_BCHW)
        return x_BCHW

    def maps_only(self) -> None:
        if self.has_fc:
            del self.classifier


def head_name(net: nn.Module) -> str:
    """Return the name of the layer that gives the classes' scores."""
    names = dict(net.named_modules())
    for name in ("classifier.6", "fc"):
        if name in names:
            return name
    return "classifier.1"


def level_ends(shapes: Sequence[tuple[int, ...]]) -> list[int]:
    """Return the indices of the steps after which the resolution falls, and of the last one.

    shapes: BCHW after each step.
    """
    heights = [height for _, _, height, _ in shapes]
    ends = []
    for i, (height, next_height) in enumerate(pairwise([*heights, 0])):
        if next_height < height:
            ends.append(i)
    return ends


def nominal_stride(height: int) -> int:
    """Return the stride of a map of this height, of an image of NOMINAL pixels."""
    return 1 << round(log2(NOMINAL / height))


def convolved(x_BCHW: Tensor, layer: nn.Linear, size: tuple[int, int]) -> Tensor:
    """Return a fully connected layer's output at every pixel of a map, the map bordered with zeros.

    size: height and width of what the layer reads.
    """
    height, width = size
    left = (width - 1) // 2
    top = (height - 1) // 2
    bordered = nn.functional.pad(x_BCHW, (left, width // 2, top, height // 2))
    kernel = layer.weight.view(len(layer.weight), -1, height, width)
    return nn.functional.conv2d(bordered, kernel, layer.bias)


def adaptive_mean(x_BCHW: Tensor, size: tuple[int, int]) -> Tensor:
    """Return what ``AdaptiveAvgPool2d`` gives, as two matrix products.

    Its own gradient has no deterministic kernel on CUDA.
    """
    height, width = x_BCHW.shape[2:]
    if (height, width) == size:
        return x_BCHW
    rows = bin_weights(height, size[0], x_BCHW.device).to(x_BCHW.dtype)
    columns = bin_weights(width, size[1], x_BCHW.device).to(x_BCHW.dtype)
    return rows @ x_BCHW @ columns.T


def bin_weights(length: int, bins: int, device: torch.device) -> Tensor:
    """Return bins x length: the weight of each pixel in the mean of each bin; bins may overlap."""
    pixel = torch.arange(length, device=device)
    bin_index = torch.arange(bins, device=device)[:, None]
    begun = pixel >= bin_index * length // bins
    not_ended = pixel * bins < (bin_index + 1) * length
    inside = begun & not_ended
    return inside / inside.sum(1, keepdim=True)


def dilate(backbone: TorchvisionBackbone, model: Name, output_stride: int) -> None:
    """Dilate the convolutions after those that would fall below the stride: weights and reach stay."""
    if not model.startswith(("resnet", "mobilenet")):
        expected = "32 for this network; 8 or 16 for a ResNet or MobileNetV2"
        raise RequestError(Fault("model.backbone.output_stride", f"{output_stride} for {model}", expected))
    stride = 1
    dilation = 1
    for layer in backbone.modules():
        if isinstance(layer, nn.MaxPool2d):
            stride *= 2
        elif isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1):
            # A shortcut, which comes after the block's 3x3.
            if dilation > 1:
                layer.stride = (1, 1)
        elif isinstance(layer, nn.Conv2d):
            layer.dilation = (dilation, dilation)
            padding = dilation * (layer.kernel_size[0] // 2)
            layer.padding = (padding, padding)
            factor = layer.stride[0]
            if factor > 1 and stride * factor > output_stride:
                layer.stride = (1, 1)
                dilation *= factor
            else:
                stride *= factor
    backbone.strides = tuple(min(stride, output_stride) for stride in backbone.strides)


def step_shapes(model: Name, size: tuple[int, int]) -> list[tuple[int, ...]]:
    """Return the BCHW shape after every step, without memory or arithmetic.

    RuntimeError if the image is too small.
    """
    with torch.device("meta"):
        every_step = TorchvisionBackbone(load(model, False), range(999))
        maps = every_step(torch.empty(1, 3, *size))
    return [tuple(x_BCHW.shape) for x_BCHW in maps]


def load(model: Name, pretrained: bool) -> nn.Module:
    """Return torchvision's own network, GoogLeNet without its auxiliary classifiers."""
    from torchvision.models import get_model

    options: dict[str, Any] = {}
    if model == "googlenet":
        options["transform_input"] = False
    # with weights, torchvision insists on setting these itself
    if model == "googlenet" and not pretrained:
        options |= {"aux_logits": False, "init_weights": True}
    net: nn.Module = get_model(model, weights="DEFAULT" if pretrained else None, **options)
    return net


def pixel_stats(model: Name) -> PixelStats:
    """Return (mean, std) of the published weights' training.

    GoogLeNet's weights come from TensorFlow and have their own.
    """
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
    # A grey image has the same value in each channel, so their weights add up.
    grey = conv.weight.detach().sum(1, keepdim=True)
    shared = grey.repeat(1, in_channels, 1, 1) / in_channels
    conv.weight = nn.Parameter(shared)
    conv.in_channels = in_channels
