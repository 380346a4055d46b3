"""Two models on the same images: the paired bootstrap."""

import numpy as np
import pytest

from pneumo.evaluation.paired import DIFFERENCES, Drawn, draw, minus
from pneumo.evaluation.scores import operating_point

N = 400
PATIENT = np.arange(N) // 2
LABEL = (PATIENT % 3 > 0).astype(int)


def probabilities(noise: float, *, seed: int = 1) -> np.ndarray:
    score = 0.5 + 0.3 * (LABEL - 0.5) + np.random.default_rng(seed).normal(0, noise, N)
    return np.asarray(score.clip(0, 1))


def drawn(probability: np.ndarray, *, threshold: float = 0.5) -> Drawn:
    return draw(LABEL, probability, patient=PATIENT, threshold=threshold)


def test_difference_is_of_the_scores_in_its_interval_and_turns_with_the_order() -> None:
    better, worse = drawn(probabilities(0.1)), drawn(probabilities(0.3))
    difference, turned = minus(better, worse), minus(worse, better)
    for name in DIFFERENCES:
        value, low, high = difference[name].values()
        assert value == pytest.approx(better.value[name] - worse.value[name])
        assert 0 < low < value < high
        assert turned[name] == pytest.approx({"value": -value, "low": -high, "high": -low})
    assert difference["called_differently"] == (better.predicted != worse.predicted).sum()


def test_a_model_differs_from_itself_by_nothing() -> None:
    difference = minus(drawn(probabilities(0.2)), drawn(probabilities(0.2)))
    assert difference["called_differently"] == 0
    for name in DIFFERENCES:
        assert difference[name]["value"] == 0
        assert np.isnan([difference[name]["low"], difference[name]["high"]]).all()


def test_pairing_makes_the_interval_narrower() -> None:
    p = probabilities(0.2, seed=0)
    close = np.clip(p + np.random.default_rng(1).normal(0, 0.01, N), 0, 1)
    first, second = drawn(p), drawn(close)
    paired = minus(first, second)["auroc"]
    alone = np.subtract(*np.quantile(first.draws["auroc"], (0.975, 0.025)))
    assert paired["high"] - paired["low"] < alone / 5


def test_each_is_at_its_own_operating_point() -> None:
    p = np.random.default_rng(0).uniform(0, 1, N)
    low, high = drawn(p, threshold=0.2), drawn(p, threshold=0.8)
    for threshold, model in ((0.2, low), (0.8, high)):
        point = operating_point(LABEL, p, threshold=threshold)
        assert model.value["sensitivity"] == pytest.approx(point["sensitivity"])
    difference = minus(low, high)
    assert difference["auroc"]["value"] == 0
    assert difference["sensitivity"]["value"] > 0 > difference["specificity"]["value"]
