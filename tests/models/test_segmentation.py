"""Networks that label pixels: torchvision's answers with its weights, sizes, skips, switches, determinism."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models import get_model, segmentation
from torchvision.models.feature_extraction import create_feature_extractor

from cvflow.config import Image
from cvflow.errors import RequestError
from cvflow.models.normalize import IMAGENET
from cvflow.models.segmentation.base import Segmenter
from cvflow.models.weights import load_weights
from cvflow.registry import Component, build
from cvflow.types import DatasetInfo

Make = Callable[..., Segmenter]
RESNET50 = {"name": "torchvision", "model": "resnet50", "output_stride": 8}
RESNET18 = {"name": "torchvision", "model": "resnet18"}
SMALL: list[dict[str, Any]] = [
    {"name": "fcn", "backbone": RESNET18, "variant": "32s"},
    {"name": "fcn", "backbone": RESNET18},
    {"name": "dilated_fcn", "backbone": {**RESNET18, "output_stride": 8}, "auxiliary": 0.5},
    {"name": "deeplabv3", "backbone": {"name": "torchvision", "output_stride": 16}},
    {"name": "unet", "backbone": {"name": "unet", "width": 4, "levels": 4}},
    {"name": "unet", "backbone": RESNET18, "widths": [16, 8]},
    {"name": "segnet", "width": 4},
    *(
        {"name": "encoder_decoder", "upsampling": u, "widths": [4, 8], "depth": 1}
        for u in ("nearest", "bed_of_nails", "max_unpooling")
    ),
    {"name": "encoder_decoder", "upsampling": "transposed_conv", "widths": [4, 8], "depth": 1},
]


@pytest.fixture
def make() -> Make:
    def made(size: tuple[int, int] = (64, 64), classes: int = 5, **model: Any) -> Segmenter:
        info = DatasetInfo("segmentation", tuple(map(str, range(classes))), {}, (0.5,) * 3, (0.25,) * 3, "")
        torch.manual_seed(0)
        return build("model", Component.model_validate(model), Image(size=size), info)

    return made


@pytest.fixture
def strictly() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def images(*size: int, count: int = 2) -> Tensor:
    return torch.randint(
        0, 256, (count, 3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
    )


def ready(net: nn.Module) -> nn.Module:
    """Norms with statistics of their own, weights of a size that keeps the signal."""
    torch.manual_seed(2)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    return net.eval()


@pytest.mark.parametrize(("name", "auxiliary"), [("fcn", False), ("deeplabv3", True)])
def test_torchvision_s_weights_give_torchvision_s_logits(
    make: Make, tmp_path: Path, name: str, auxiliary: bool
) -> None:
    theirs = ready(
        getattr(segmentation, f"{name}_resnet50")(
            weights=None, weights_backbone=None, num_classes=21, aux_loss=auxiliary
        )
    )
    save_file(theirs.state_dict(), tmp_path / "w.safetensors")
    model = {
        "name": "dilated_fcn" if name == "fcn" else name,
        "backbone": RESNET50,
        "auxiliary": 0.5 * auxiliary,
    }
    ours = make(classes=21, normalize="imagenet", **model).eval()
    report = load_weights(ours, tmp_path / "w.safetensors")
    assert not report.missing + report.unexpected + report.mismatched
    x = images(70, 101)
    mean, std = (torch.tensor(v).view(-1, 1, 1) for v in IMAGENET)
    with torch.no_grad():
        expected = theirs((x / 255 - mean) / std)
        assert expected["out"].std() > 0.01
        torch.testing.assert_close(ours(x), expected["out"], atol=1e-4, rtol=0)
        if auxiliary:
            # of itself alone: it answers with both, its norms and dropouts rest
            ours.training = True
            torch.testing.assert_close(ours.outputs(x)["aux_loss"], expected["aux"], atol=1e-4, rtol=0)


@pytest.mark.parametrize(("stride", "replaced"), [(8, [False, True, True]), (16, [False, False, True])])
def test_dilation_is_torchvision_s(
    backbone: Callable[..., nn.Module], stride: int, replaced: list[bool]
) -> None:
    theirs = get_model("resnet50", replace_stride_with_dilation=replaced).eval()
    ours = backbone("torchvision", size=(64, 64), model="resnet50", output_stride=stride).eval()
    ours.load_state_dict({k: v for k, v in theirs.state_dict().items() if not k.startswith("fc.")})
    x = torch.randn(1, 3, 80, 64)
    levels = create_feature_extractor(theirs, [f"layer{i}" for i in (1, 2, 3, 4)])(x)
    for mine, level in zip(ours(x)[1:], levels.values(), strict=True):
        torch.testing.assert_close(mine, level)
    assert ours.strides == (2, 4, 8, min(16, stride), stride)


@pytest.mark.parametrize("stride", [8, 16])
def test_dilation_keeps_what_a_kernel_sees(backbone: Callable[..., nn.Module], stride: int) -> None:
    """The map of the strided network is the dilated one's at every second (fourth) place."""
    coarse = backbone("torchvision", size=(64, 64)).eval()
    fine = backbone("torchvision", size=(64, 64), output_stride=stride).eval()
    fine.load_state_dict(coarse.state_dict())
    x = torch.randn(1, 3, 128, 96)
    step = 32 // stride
    torch.testing.assert_close(fine(x)[-1][:, :, ::step, ::step], coarse(x)[-1])


@pytest.mark.parametrize(
    "model", SMALL, ids=lambda m: "-".join(str(v) for v in m.values() if isinstance(v, str))
)
def test_logits_have_the_size_of_the_image_and_every_weight_learns(
    make: Make, strictly: None, model: dict[str, Any]
) -> None:
    net = make(**model)
    outputs = net.outputs(images(50, 71))
    assert set(outputs) == {"loss", *net.loss_weights}
    assert {tuple(logits.shape) for logits in outputs.values()} == {(2, 5, 50, 71)}
    sum(logits.square().sum() for logits in outputs.values()).backward()
    assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []
    net.eval()
    assert set(net.outputs(images(64, 64))) == {"loss"}


@pytest.mark.parametrize(
    "model", SMALL, ids=lambda m: "-".join(str(v) for v in m.values() if isinstance(v, str))
)
def test_padding_does_not_shift_the_answer(make: Make, model: dict[str, Any]) -> None:
    """An image that needs no padding, and the same cut below: far from the cut, the answers agree."""
    net = make(**model).eval()
    x = images(64, 96)
    with torch.no_grad():
        whole, cut = net(x), net(x[:, :, :63, :95])
    if model["name"] == "deeplabv3":  # sees the mean of the whole image
        assert cut.shape == (2, 5, 63, 95)
    else:
        assert (whole[:, :, :8, :8] - cut[:, :, :8, :8]).abs().max() < 0.35 * whole.std()


def test_fcn_starts_as_the_coarser_one(make: Make) -> None:
    """Skips begin at zero: FCN-8s with FCN-32s's weights is bilinear interpolation in three steps."""
    nets = [make(name="fcn", backbone=RESNET18, variant=variant).eval() for variant in ("32s", "16s", "8s")]
    for net in nets[1:]:
        net.load_state_dict({**net.state_dict(), **nets[0].state_dict()})
    x = images(192, 192)
    with torch.no_grad():
        coarse, middle, fine = (net(x)[:, :, 64:128, 64:128] for net in nets)
    assert (coarse - fine).abs().mean() < 0.05 * coarse.std()
    assert (coarse - middle).abs().mean() < 0.05 * coarse.std()


def test_fully_connected_layers_slide(backbone: Callable[..., Any]) -> None:
    """Over a map of just their size, its centre is what the classifier's own layers see."""
    net = backbone("torchvision", size=(224, 224), model="vgg11").eval()
    x = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        last = net(x)[-1]
        torch.testing.assert_close(net.slide(last)[:, :, 3, 3], net.embed(x), atol=1e-4, rtol=1e-4)


def test_segnet_s_encoder_takes_vgg_weights(make: Make, tmp_path: Path) -> None:
    theirs = ready(get_model("vgg16_bn"))
    save_file(
        {k: v for k, v in theirs.state_dict().items() if k.startswith("features")}, tmp_path / "w.safetensors"
    )
    ours = make(name="segnet").eval()
    report = load_weights(ours, tmp_path / "w.safetensors")
    assert not report.unexpected + report.mismatched
    assert {name.split(".")[0] for name in report.missing} == {"decoder", "score"}
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours.backbone.encode(x)[0], theirs.features(x))


def test_unet_has_the_parameters_of_the_paper(make: Make) -> None:
    """31.0 M (1505.04597 with a 2x2 up-convolution of half the channels), with batch norms for biases."""
    with torch.device("meta"):
        net = make(name="unet", classes=2)
    assert sum(p.numel() for p in net.parameters()) / 1e6 == pytest.approx(31.04, abs=0.05)


@pytest.mark.parametrize(
    ("model", "where"),
    [
        ({"name": "fcn", "backbone": "lenet"}, "3 levels of different strides"),
        ({"name": "unet", "backbone": "mlp"}, "2 levels of different strides"),
        (
            {"name": "deeplabv3", "backbone": {"name": "torchvision", "model": "vgg11", "output_stride": 8}},
            "8 for vgg11",
        ),
        ({"name": "segnet", "size": (16, 64)}, "16x64"),
    ],
)
def test_what_does_not_fit_is_refused(make: Make, model: dict[str, Any], where: str) -> None:
    with pytest.raises(RequestError, match=where):
        make(**model)


def test_one_image_is_a_batch(make: Make) -> None:
    """Whose mean has no variance of its own."""
    net = make(name="deeplabv3", backbone={"name": "torchvision", "output_stride": 16}).train()
    assert net(images(64, 64, count=1)).isfinite().all()
