"""Backbones of timm, any of its classifiers (Wightman, 2019, github.com/huggingface/pytorch-image-models)."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Annotated, Any

from pydantic import AfterValidator
from torch import Tensor, nn

from cvflow.errors import did_you_mean
from cvflow.models.backbones.base import Backbone, fetching
from cvflow.models.fold import traced_pairs
from cvflow.models.layers import ConvNorms
from cvflow.registry import register


def model_name(name: str) -> str:
    """Return the name of a timm model, with or without the tag of its weights.

    ValueError if timm has no such model or weights.
    """
    import timm

    if not timm.is_model(name):
        hint = did_you_mean(name, timm.list_models())
        message = f"a timm model. {hint} All of them: https://huggingface.co/timm"
        raise ValueError(message.replace("  ", " "))  # without a hint two spaces meet
    if "." in name and name not in timm.list_pretrained():
        untagged, _, _ = name.partition(".")
        tagged = timm.list_pretrained(f"{untagged}.*")
        raise ValueError(f"weights that timm has: {', '.join(tagged) or 'none for this model'}")
    return name


@register("backbone", "timm")
class TimmBackbone(Backbone):
    """A timm model without its classifier; its weights keep timm's names below ``net``.

    model: as in ``timm.list_models()``. pretrained: its published weights, fetched or from the cache.
    """

    net: Any

    def __init__(
        self,
        in_channels: int,
        image_size: tuple[int, int],
        *,
        model: Annotated[str, AfterValidator(model_name)] = "resnet18",
        pretrained: bool = False,
    ) -> None:
        super().__init__()
        with fetching(model) if pretrained else nullcontext():
            self.net = load(in_channels, image_size, model, pretrained)
        levels = list(self.net.feature_info)
        self.channels = tuple(level["num_chs"] for level in levels)
        self.strides = tuple(level["reduction"] for level in levels)
        self.num_features = self.net.head_hidden_size
        config = self.net.pretrained_cfg
        names = config["classifier"]
        self.head_keys = (names,) if isinstance(names, str) else tuple(names)
        if pretrained:
            self.pixel_stats = (tuple(config["mean"]), tuple(config["std"]))

    def forward(self, x_BCHW: Tensor) -> list[Tensor]:
        maps: list[Tensor] = self.net.forward_intermediates(
            x_BCHW,
            intermediates_only=True,
        )
        return maps

    @property
    def conv_norms(self) -> ConvNorms:
        from timm.models import get_notrace_functions, get_notrace_modules

        opaque: list[Any] = [get_notrace_modules(), get_notrace_functions()]  # type: ignore[no-untyped-call]
        pairs = traced_pairs(self.net, *opaque)
        return tuple((f"net.{conv}", f"net.{norm}") for conv, norm in pairs)

    def embed(self, x_BCHW: Tensor) -> Tensor:
        last = self.net.forward_features(x_BCHW)
        features: Tensor = self.net.forward_head(last, pre_logits=True)
        return features

    def maps_only(self) -> None:
        self.net.prune_intermediate_layers(prune_head=True)


def load(in_channels: int, image_size: tuple[int, int], model: str, pretrained: bool) -> nn.Module:
    """Return timm's network; one of a fixed input size (most transformers) gets ours, if it takes it."""
    import timm

    net: nn.Module
    if timm.get_pretrained_cfg_value(model, "fixed_input_size"):
        try:
            net = timm.create_model(
                model, pretrained=pretrained, in_chans=in_channels, num_classes=0, img_size=image_size
            )
            return net
        # VGG and a few more are marked as fixed, but adapt by themselves
        except TypeError:
            pass
    net = timm.create_model(model, pretrained=pretrained, in_chans=in_channels, num_classes=0)
    return net
