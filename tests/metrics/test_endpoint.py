"""EPE, bad-t, D1 and Fl against sums by hand; the same bits however the images are divided."""

from __future__ import annotations

import json
import math
from itertools import permutations

import numpy as np
import pytest

from cvflow.annotations import KINDS
from cvflow.draw import block_of
from cvflow.errors import CvflowError
from cvflow.metrics.endpoint import EndpointMetric, epe
from cvflow.metrics.flow import SHARES as OF_FLOW
from cvflow.metrics.stereo import SHARES as OF_STEREO
from cvflow.types import Prediction

NAN = np.nan


def stereo_metric() -> EndpointMetric:
    return EndpointMetric("disparity", KINDS["disparity"].decode, OF_STEREO)


def flow_metric() -> EndpointMetric:
    return EndpointMetric("flow", KINDS["flow"].decode, OF_FLOW)


def answered(kind: str, array: np.ndarray, id: str = "a") -> Prediction:
    return Prediction(id, {kind: KINDS[kind].encode(array.astype(np.float32))})


def test_disparity_by_hand() -> None:
    truth = np.array([[100.0, 10.0, 50.0, 7.0, 20.0, NAN]], np.float32)
    answer = np.array([[104.0, 13.5, 50.5, 7.0, 22.0, 99.0]], np.float32)
    metric = stereo_metric()
    metric.update([answered("disparity", answer)], [{"disparity": truth}])
    # errors 4, 3.5, 0.5, 0, 2; 4 px of 100 is under 5 %
    assert metric.compute() == {"epe": 2.0, "bad1": 0.6, "bad3": 0.4, "d1": 0.2}
    assert epe(answer, truth) == 2.0


def test_flow_by_hand() -> None:
    truth = np.array([[[3.0, 4.0], [0.0, 0.0], [80.0, 0.0], [NAN, NAN]]], np.float32)
    answer = np.array([[[0.0, 0.0], [0.0, -1.0], [80.0, 3.5], [9.0, 9.0]]], np.float32)
    metric = flow_metric()
    metric.update([answered("flow", answer)], [{"flow": truth}])
    # errors 5, 1, 3.5; 3.5 px of 80 is under 5 %
    assert metric.compute() == {"epe": (5 + 1 + 3.5) / 3, "fl": 1 / 3, "bad1": 2 / 3}


def images(kind: str, count: int = 7) -> list[tuple[Prediction, dict[str, np.ndarray]]]:
    random = np.random.default_rng(0)
    found = []
    for i in range(count):
        shape = (5 + i, 9) if kind == "disparity" else (5 + i, 9, 2)
        truth = random.uniform(0, 30, shape).astype(np.float32)
        answer = (truth + random.normal(0, 3, shape)).astype(np.float32)
        truth[random.random(shape[:2]) < 0.3] = NAN
        found.append((answered(kind, answer, str(i)), {kind: truth}))
    return found


def measured(
    metric: EndpointMetric, parts: list[list[tuple[Prediction, dict[str, np.ndarray]]]], make: object
) -> EndpointMetric:
    for part in parts:
        worker: EndpointMetric = make()  # type: ignore[operator]
        for prediction, target in part:
            worker.update([prediction], [target])
        metric.merge(json.loads(json.dumps(worker.state())))
    return metric


@pytest.mark.parametrize(("kind", "make"), [("disparity", stereo_metric), ("flow", flow_metric)])
def test_no_division_changes_a_bit(kind: str, make: object) -> None:
    data = images(kind)
    whole = measured(make(), [data], make)  # type: ignore[operator]
    for order in [*permutations(range(3))]:
        parts = [data[i::3] for i in order]
        found = measured(make(), parts, make)  # type: ignore[operator]
        assert found.compute() == whole.compute()
        assert found.details() == whole.details()


@pytest.mark.parametrize(("kind", "make"), [("disparity", stereo_metric), ("flow", flow_metric)])
def test_against_numpy(kind: str, make: object) -> None:
    data = images(kind)
    errors, lengths = [], []
    for prediction, target in data:
        answer = KINDS[kind].decode(prediction.values[kind])
        off = (answer - target[kind]).reshape(*answer.shape[:2], -1)
        length = np.linalg.norm(target[kind].reshape(off.shape), axis=2)
        errors.append(np.linalg.norm(off, axis=2)[~np.isnan(length)])
        lengths.append(length[~np.isnan(length)])
    error, length = np.concatenate(errors), np.concatenate(lengths)
    found = measured(make(), [data], make).compute()  # type: ignore[operator]
    assert found["epe"] == pytest.approx(error.mean(), rel=1e-6)
    assert found["d1" if kind == "disparity" else "fl"] == np.mean((error > 3) & (error > 0.05 * length))
    assert found["bad1"] == np.mean(error > 1)
    if kind == "disparity":
        assert found["bad3"] == np.mean(error > 3)


def test_of_nothing_all_is_nan_and_nan_is_bad() -> None:
    assert all(math.isnan(v) for v in flow_metric().compute().values())
    metric = stereo_metric()
    metric.update([answered("disparity", np.full((2, 2), NAN))], [{"disparity": np.ones((2, 2), np.float32)}])
    found = metric.compute()
    assert math.isnan(found["epe"])
    assert (found["bad3"], found["d1"]) == (1, 1)


def test_another_size_is_refused() -> None:
    with pytest.raises(CvflowError, match=r"a: got a disparity of shape \(2, 2\), expected \(2, 3\)"):
        stereo_metric().update([answered("disparity", np.ones((2, 2)))], [{"disparity": np.ones((2, 3))}])


def test_details_are_drawn() -> None:
    metric = measured(stereo_metric(), [images("disparity")], stereo_metric)
    assert block_of(metric.details()["errors"]).kind == "curves"
