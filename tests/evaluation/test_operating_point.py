import numpy as np
import pytest

from pneumo.evaluation.operating_point import calibrated, fit_on_validation


def test_validation_fixes_the_threshold_that_finds_19_of_20() -> None:
    probability = np.arange(25) / 25  # 5 NORMAL below 20 PNEUMONIA
    point = fit_on_validation(np.repeat([0, 1], [5, 20]), probability)
    assert point.threshold == pytest.approx(6 / 25 - 1e-6, abs=1e-9)  # not the lowest, at 5 / 25
    assert (point.images, point.prevalence, point.sensitivity) == (25, 0.8, 0.95)


def test_a_probability_of_0_or_1_has_the_odds_of_1e_7() -> None:
    sure = calibrated([0.0, 1.0], temperature=2)
    odds = np.sqrt(1e-7)  # the logarithm of the odds is halved
    assert sure == pytest.approx([odds / (1 + odds), 1 / (1 + odds)])
