"""Starting weights: published files, our own, and files that are wrong."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from cvflow.errors import RequestError
from cvflow.models.classifier import Classifier
from cvflow.models.weights import load_weights

Make = Callable[..., Classifier]


@pytest.mark.parametrize("depth", [20, 56])
def test_cifar_weights_fit_whole(classifier: Make, published: Callable[[str], Path], depth: int) -> None:
    path = published(f"cifar10_resnet{depth}_akamaster.safetensors")
    model = classifier({"name": "cifar_resnet", "depth": depth})
    report = load_weights(model, path)
    assert len(report.matched) == len(load_file(path))
    assert not report.missing + report.unexpected + report.mismatched
    assert torch.equal(model.head.weight, load_file(path)["linear.weight"])


def test_cifar_weights_recognise_cifar(classifier: Make, published: Callable[[str], Path]) -> None:
    """83 % of the whole test set at hand; here the first of each class's images."""
    import numpy as np
    from PIL import Image

    model = classifier({"name": "cifar_resnet", "depth": 56}, normalize="imagenet").eval()
    path = published("cifar10_resnet56_akamaster.safetensors")
    load_weights(model, path)
    folders = sorted(f for f in (path.parents[1] / "cifar10_jpg/test").iterdir() if f.is_dir())
    assert len(folders) == 10
    files = [(label, file) for label, folder in enumerate(folders) for file in sorted(folder.iterdir())[:20]]
    pixels = np.stack([np.asarray(Image.open(file).convert("RGB")) for _, file in files])
    with torch.no_grad():
        answers = model(torch.from_numpy(pixels).permute(0, 3, 1, 2)).argmax(1)
    assert (answers == torch.tensor([label for label, _ in files])).float().mean() > 0.75


def test_features_without_a_head(classifier: Make, published: Callable[[str], Path]) -> None:
    model = classifier({"name": "torchvision", "model": "mobilenet_v2"}, size=(64, 64))
    report = load_weights(model, published("mobilenet_v2_imagenet_features_only.safetensors"))
    assert report.missing == ("head.weight", "head.bias")
    assert not report.unexpected + report.mismatched
    assert str(report).startswith(
        "312 tensors loaded\nkept as initialised, not in the file: head.weight, head.bias"
    )


def test_head_of_another_shape_stays_as_initialised(
    classifier: Make, published: Callable[[str], Path]
) -> None:
    model = classifier({"name": "torchvision", "model": "squeezenet1_1"}, size=(64, 64))
    before = model.head.weight.clone()
    report = load_weights(model, published("squeezenet1_1_imagenet_ndf.safetensors"))
    assert report.mismatched == (
        "head.bias 10, in the file 1000",
        "head.weight 10x512, in the file 1000x512x1x1",
    )
    assert len(report.matched) == 50
    assert torch.equal(model.head.weight, before)


def test_own_model_comes_back_with_its_statistics(classifier: Make, tmp_path: Path) -> None:
    first, second = classifier("lenet", mean=(0.1, 0.2, 0.3)), classifier("lenet")
    save_file(first.state_dict(), tmp_path / "model.safetensors")
    report = load_weights(second, tmp_path / "model.safetensors")
    assert not report.missing + report.unexpected + report.mismatched
    assert all(
        torch.equal(a, b)
        for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )


def test_backbone_alone_and_data_parallel_names(classifier: Make, tmp_path: Path) -> None:
    model = classifier("cifar_resnet")
    other = classifier("cifar_resnet").backbone
    weights = {
        f"module.{k}": v for k, v in other.state_dict().items() if not k.endswith("num_batches_tracked")
    }
    save_file(weights | {"module.odd": torch.zeros(1)}, tmp_path / "w.safetensors")
    report = load_weights(model.backbone, tmp_path / "w.safetensors")
    assert report.unexpected == ("module.odd",)
    assert not report.missing + report.mismatched
    assert torch.equal(model.backbone.get_parameter("conv1.weight"), other.get_parameter("conv1.weight"))


def test_a_long_report_is_shortened(classifier: Make, tmp_path: Path) -> None:
    small = classifier({"name": "cifar_resnet", "depth": 20})
    save_file(small.state_dict(), tmp_path / "w.safetensors")
    report = load_weights(classifier({"name": "cifar_resnet", "depth": 32}), tmp_path / "w.safetensors")
    assert "backbone.layer1.3.conv1.weight" in str(report)
    assert f"... ({len(report.missing)} in all)" in str(report)
    assert len(str(report)) < 300


def test_nothing_that_fits_is_an_error(classifier: Make, tmp_path: Path) -> None:
    save_file({"stem.weight": torch.zeros(2, 3)}, tmp_path / "w.safetensors")
    with pytest.raises(
        RequestError, match="The file has stem.weight 2x3; the model has backbone.conv1.weight 6x3x5x5"
    ):
        load_weights(classifier("lenet"), tmp_path / "w.safetensors")


def test_wrong_files_are_refused(classifier: Make, tmp_path: Path) -> None:
    text = tmp_path / "text.safetensors"
    text.write_text("no tensors here, just words")
    for path, message in [
        (tmp_path / "none.safetensors", "is no file"),
        (tmp_path, "is no file"),
        (text, "expected a safetensors file"),
    ]:
        with pytest.raises(RequestError, match=message):
            load_weights(classifier("lenet"), path)


def test_a_pickle_is_refused_with_a_command_that_converts_it(classifier: Make, tmp_path: Path) -> None:
    model = classifier("lenet")
    torch.save({"state_dict": model.state_dict()}, tmp_path / "w.pth")
    with pytest.raises(RequestError) as caught:
        load_weights(model, tmp_path / "w.pth")
    _, *arguments = shlex.split(caught.value.faults[0].fix.partition("type: ")[2])
    subprocess.run([sys.executable, *arguments], check=True)
    assert not load_weights(model, tmp_path / "w.safetensors").missing
