"""Paired comparison over splits, by hand and against scipy."""

import numpy as np
import pytest

from pneumo.evaluation.paired_tests import corrected_t_test, holm


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
