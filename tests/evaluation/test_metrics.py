"""Curves, thresholds, net benefit and calibration: against scikit-learn and by their laws."""

from typing import Any

import numpy as np
import pytest

from pneumo.evaluation import metrics
from pneumo.evaluation.metrics import Array
from pneumo.evaluation.scores import operating_point

sk = pytest.importorskip("sklearn.metrics")


def cases(seed: int, *, num: int = 300, digits: int = 6) -> tuple[Array, Array]:
    """Labels and plausible probabilities; with one digit there are many ties."""
    rng = np.random.default_rng(seed)
    label = (rng.random(num) < 0.7).astype(int)
    return label, np.clip(rng.normal(0.35 + 0.3 * label, 0.2), 0, 1).round(digits)


@pytest.mark.parametrize("digits", [1, 6])
def test_curves_are_those_of_scikit_learn(digits: int) -> None:
    label, probability = cases(1, digits=digits)
    false_rate, true_rate = metrics.roc_curve(label, probability)
    expected = sk.roc_curve(label, probability, drop_intermediate=False)
    np.testing.assert_allclose(false_rate, expected[0])
    np.testing.assert_allclose(true_rate, expected[1])
    recall, precision = metrics.precision_recall_curve(label, probability)
    expected_precision, expected_recall, _ = sk.precision_recall_curve(label, probability)
    np.testing.assert_allclose(recall, expected_recall[-2::-1])
    np.testing.assert_allclose(precision, expected_precision[-2::-1])
    called = probability >= 0.5
    np.testing.assert_array_equal(
        metrics.confusion(label, called), sk.confusion_matrix(label, called)
    )


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match=r"must both be \(N,\); got \(2,\) and \(3,\)"):
        metrics.checked([0, 1], [0.1, 0.2, 0.3])
    with pytest.raises(ValueError, match=r"must be 0 \(NORMAL\) or 1 \(PNEUMONIA\); got \[0 2\]"):
        metrics.checked([0, 2], [0.1, 0.2])


@pytest.mark.parametrize("num", [1, 7, 20, 333])
@pytest.mark.parametrize("wanted", [0.5, 0.95, 1.0])
def test_the_threshold_is_the_highest_with_the_sensitivity(num: int, wanted: float) -> None:
    label, probability = cases(num, num=num)
    label[0] = 1
    threshold = metrics.sensitivity_threshold(label, probability, sensitivity=wanted)
    point = operating_point(label, probability, threshold=threshold)
    assert point["sensitivity"] >= wanted - 1e-12
    above = operating_point(label, probability, threshold=threshold + 2 * metrics.ROUNDING)
    assert above["sensitivity"] < wanted
    assert np.isnan(metrics.sensitivity_threshold([0, 0], [0.1, 0.2]))


def test_predictive_values_are_those_counted_at_the_own_prevalence() -> None:
    label, probability = cases(7)
    point = operating_point(label, probability, threshold=0.4)
    ppv, npv = metrics.predictive_values(
        sensitivity=point["sensitivity"],
        specificity=point["specificity"],
        prevalence=[label.mean(), 0.01],
    )
    assert (ppv[0], npv[0]) == pytest.approx((point["ppv"], point["npv"]))
    assert ppv[1] < ppv[0]
    assert npv[1] > npv[0]


def test_net_benefit_of_all_and_none() -> None:
    label, probability = cases(8)
    threshold, share = np.array([0.1, 0.5]), label.mean()
    everyone = metrics.net_benefit(label, np.ones(label.size), threshold=threshold)
    np.testing.assert_allclose(everyone, share - (1 - share) * threshold / (1 - threshold))
    assert metrics.net_benefit(label, np.zeros(label.size), threshold=threshold).tolist() == [0, 0]
    (_, false_yes), (_, true_yes) = metrics.confusion(label, probability >= 0.5)
    benefit = metrics.net_benefit(label, probability, threshold=0.5)
    assert benefit == pytest.approx((true_yes - false_yes) / label.size)


def test_net_benefit_at_a_prevalence_is_that_of_images_so_composed() -> None:
    label, probability = cases(8)
    threshold = np.array([0.1, 0.5])
    often = np.concatenate([np.arange(label.size), *[np.flatnonzero(label == 0)] * 3])
    for index in (np.arange(label.size), often):
        at: dict[str, Any] = {"threshold": threshold, "prevalence": float(label[index].mean())}
        composed = metrics.net_benefit(label[index], probability[index], threshold=threshold)
        np.testing.assert_allclose(metrics.net_benefit(label, probability, **at), composed)


def test_brier_and_calibration_error() -> None:
    label, probability = cases(2)
    expected = sk.brier_score_loss(label, probability)
    assert metrics.brier(label, probability) == pytest.approx(expected)
    sure = np.array([0.0, 0.0, 1.0, 1.0])
    assert metrics.expected_calibration_error([0, 0, 1, 1], sure) == 0
    assert metrics.expected_calibration_error([1, 1, 0, 0], sure) == 1
    table = metrics.reliability([0, 1, 1, 1], [0.05, 0.05, 0.95, 1.0], bins=10)
    assert table.images.tolist() == [2, 0, 0, 0, 0, 0, 0, 0, 0, 2]
    np.testing.assert_array_equal(table.observed, [0.5, *[np.nan] * 8, 1.0])
    assert np.isnan([metrics.brier([], []), metrics.expected_calibration_error([], [])]).all()


def test_a_probability_moves_to_another_prevalence_by_the_odds() -> None:
    moved = metrics.at_prevalence([0.5, 0.0, 1.0], fitted_at=0.75, prevalence=0.5)
    assert moved == pytest.approx([0.25, 0, 1])  # odds 1 by (1 / 1) / (3 / 1)
    np.testing.assert_allclose(
        metrics.at_prevalence([0.2, 0.9], fitted_at=0.3, prevalence=0.3), [0.2, 0.9]
    )
