"""Paired bootstrap on the same images; comparison over splits, by hand and against scipy."""

from typing import Any

import numpy as np
import pytest

from pneumo.evaluation.intervals import resampled_scores
from pneumo.evaluation.paired import DIFFERENCES, corrected_t_test, differences, holm
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


def test_the_corrected_t_test_by_hand() -> None:
    # J = 5, mean 0.02, s^2 = 0.00025; (1/5 + 3/7) s^2 = 0.000157143, error 0.0125357;
    # t = 1.595448, df = 4: two-sided p 0.185843; t(0.975, 4) = 2.776445
    result = corrected_t_test([0.0, 0.01, 0.02, 0.03, 0.04], test_to_train=0.3 / 0.7)
    assert result.difference == pytest.approx(0.02)
    assert result.df == 4
    assert result.p == pytest.approx(0.185843, abs=1e-4)
    assert (result.low, result.high) == pytest.approx(
        (0.02 - 2.776445 * 0.0125357, 0.02 + 2.776445 * 0.0125357), abs=1e-6
    )


def test_the_correction_only_widens_and_without_it_is_the_paired_t_test() -> None:
    stats = pytest.importorskip("scipy.stats")
    gap = np.random.default_rng(0).normal(0.01, 0.01, 6)
    plain = corrected_t_test(gap, test_to_train=0)
    expected = stats.ttest_1samp(gap, 0)
    assert plain.p == pytest.approx(expected.pvalue)
    ends = expected.confidence_interval()
    assert (plain.low, plain.high) == pytest.approx((ends.low, ends.high))
    corrected = corrected_t_test(gap, test_to_train=0.43)
    assert corrected.low < plain.low
    assert corrected.p > plain.p


@pytest.mark.parametrize(
    ("gap", "difference"),
    [
        ([0.1, float("nan")], 0.1),
        ([], float("nan")),
        ([0, 0, 0], 0),
        ([0.1, 0.3], 0.2),  # two trials prove nothing: p was 0.0002 on docs/runs
        # accuracies that differ by 10 of 1,757 images on each split, stored as float32
        (
            np.subtract(
                *(np.array([[1689, 1684, 1690], [1699, 1694, 1700]]) / 1757).astype(np.float32)
            ),
            -10 / 1757,
        ),
    ],
)
def test_too_few_or_equal_differences_have_no_interval(gap: object, difference: float) -> None:
    result = corrected_t_test(np.asarray(gap), test_to_train=0.4)
    assert result.difference == pytest.approx(difference, rel=1e-4, nan_ok=True)
    assert np.isnan([result.low, result.high, result.p]).all()
    assert 0 < corrected_t_test([0, 1 / 1757, 0], test_to_train=0.4).p < 1  # a real spread


def test_holm() -> None:
    adjusted = holm([0.01, float("nan"), 0.04, 0.03])
    np.testing.assert_allclose(adjusted, [0.03, np.nan, 0.06, 0.06])
    assert holm([0.6, 0.9]).tolist() == [1, 1]
