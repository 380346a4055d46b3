"""Two models on the same images: the paired bootstrap."""

from typing import Any

import numpy as np
import pytest

from pneumo.evaluation.intervals import resampled_scores
from pneumo.evaluation.paired import DIFFERENCES, differences
from pneumo.evaluation.scores import operating_point, scores

N = 400
PATIENT = np.arange(N) // 2
LABEL = (PATIENT % 3 > 0).astype(int)


def probabilities(noise: float, *, seed: int = 1) -> np.ndarray:
    score = 0.5 + 0.3 * (LABEL - 0.5) + np.random.default_rng(seed).normal(0, noise, N)
    return np.asarray(score.clip(0, 1))


def minus(
    first: np.ndarray, second: np.ndarray, *, thresholds: tuple[float, float] = (0.5, 0.5)
) -> dict[str, Any]:
    pair = np.stack([first, second])
    (row,) = differences(LABEL, pair, patient=PATIENT, thresholds=thresholds)
    return row


def test_difference_is_of_the_scores_in_its_interval_and_turns_with_the_order() -> None:
    better, worse = probabilities(0.1), probabilities(0.3)
    difference, turned = minus(better, worse), minus(worse, better)
    for name, score in DIFFERENCES.items():
        value, low, high = difference[name].values()
        assert value == pytest.approx(scores(LABEL, better)[score] - scores(LABEL, worse)[score])
        assert 0 < low < value < high
        assert turned[name] == pytest.approx({"value": -value, "low": -high, "high": -low})
    assert difference["called_differently"] == ((better >= 0.5) != (worse >= 0.5)).sum()
    same = minus(better, better)
    assert same["called_differently"] == 0
    for name in DIFFERENCES:
        assert same[name] == pytest.approx({"value": 0, "low": np.nan, "high": np.nan}, nan_ok=True)


def test_pairing_makes_the_interval_narrower() -> None:
    p = probabilities(0.2, seed=0)
    paired = minus(p, np.clip(p + np.random.default_rng(1).normal(0, 0.01, N), 0, 1))["auroc"]
    draws = resampled_scores(LABEL, p, patient=PATIENT, names=["auroc"])["auroc"]
    assert paired["high"] - paired["low"] < np.subtract(*np.quantile(draws, (0.975, 0.025))) / 5


def test_each_is_at_its_own_operating_point() -> None:
    p = np.random.default_rng(0).uniform(0, 1, N)
    difference = minus(p, p, thresholds=(0.2, 0.8))
    low, high = (operating_point(LABEL, p, threshold=threshold) for threshold in (0.2, 0.8))
    for name in ("sensitivity", "specificity"):
        assert difference[name]["value"] == pytest.approx(low[name] - high[name])
    assert difference["auroc"]["value"] == 0
    assert difference["sensitivity"]["value"] > 0 > difference["specificity"]["value"]
