"""The classifier: pixel statistics, options, what is saved with it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from cvflow.errors import RequestError
from cvflow.models.classifier import Classifier
from cvflow.models.normalize import Normalize
from cvflow.registry import Component, check

Make = Callable[..., Classifier]


@pytest.mark.parametrize(("channels", "classes"), [(1, 2), (3, 7)])
def test_logits_and_gradients(classifier: Make, channels: int, classes: int) -> None:
    model = classifier("lenet", channels=channels, classes=classes)
    logits = model(torch.randint(0, 256, (4, channels, 32, 32), dtype=torch.uint8))
    assert logits.shape == (4, classes)
    logits.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_dropout_acts_in_training_only(classifier: Make) -> None:
    model = classifier("lenet", dropout=0.5)
    x = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    assert not torch.equal(model(x), model(x))
    model.eval()
    assert torch.equal(model(x), model(x))


@pytest.mark.parametrize(
    ("normalize", "mean"),
    [
        ("auto", 0.5),
        ("dataset", 0.5),
        ("imagenet", 0.485),
        ({"mean": [0.1, 0.2, 0.3], "std": [1, 1, 1]}, 0.1),
        ({"mean": [0.7], "std": [1]}, 0.7),
    ],
)
def test_choice_of_statistics(classifier: Make, normalize: object, mean: float) -> None:
    assert classifier("lenet", normalize=normalize).normalize.mean.flatten()[0].item() == pytest.approx(mean)


def test_auto_takes_the_statistics_of_published_weights(classifier: Make) -> None:
    from cvflow.models.classifier import pixel_stats

    model = classifier("lenet")
    model.backbone.pixel_stats = ((0.1,), (0.2,))
    info = type("Info", (), {"mean": (0.5,), "std": (0.5,)})()
    assert pixel_stats("auto", model.backbone, info) == ((0.1,), (0.2,))
    assert pixel_stats("dataset", model.backbone, info) == ((0.5,), (0.5,))


def test_statistics_are_saved_with_the_model(classifier: Make) -> None:
    first, second = classifier("lenet", mean=(0.1, 0.2, 0.3)), classifier("lenet")
    second.load_state_dict(first.state_dict())
    x = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    assert torch.equal(first.eval()(x), second.eval()(x))


def test_normalised_pixels_have_zero_mean_and_unit_deviation() -> None:
    x = torch.randint(0, 256, (8, 3, 16, 16), dtype=torch.uint8)
    scaled = x / 255
    out = Normalize(tuple(scaled.mean((0, 2, 3)).tolist()), tuple(scaled.std((0, 2, 3)).tolist()), 3)(x)
    torch.testing.assert_close(out.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(out.std((0, 2, 3)), torch.ones(3), atol=1e-4, rtol=0)


def test_grey_images_use_the_average() -> None:
    assert Normalize((0.1, 0.2, 0.6), (0.1, 0.2, 0.3), 1).mean.flatten().tolist() == pytest.approx([0.3])


def test_a_constant_channel_stays_finite() -> None:
    out = Normalize((1.0,), (0.0,), 1)(torch.full((1, 1, 2, 2), 255, dtype=torch.uint8))
    assert out.tolist() == torch.zeros(1, 1, 2, 2).tolist()


def test_two_statistics_for_three_channels_are_refused() -> None:
    with pytest.raises(RequestError, match="got 2 values of mean or std, expected 1 or 3"):
        Normalize((0.1, 0.2), (0.1, 0.2), 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"normalize": "imagnet"},
            "model.normalize: got 'imagnet', expected 'auto', 'dataset' or 'imagenet'.",
        ),
        ({"normalize": {"mean": [0.5]}}, "model.normalize.std: got nothing, expected a value."),
        (
            {"normalize": {"men": [0.5], "mean": [0], "std": [1]}},
            "model.normalize.men: got the unknown key 'men', expected one of mean, std.",
        ),
        ({"dropout": 1.0}, "model.dropout: got 1.0, expected less than 1."),
        ({"backbone": "lennet"}, "Did you mean 'lenet'?"),
        ({"backbone": {"name": "mlp", "hiden": [3]}}, "model.backbone.hiden"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, object], message: str) -> None:
    _, (fault,) = check("model", Component(name="classifier", **options), "model")
    assert message in str(fault)
