"""What a validation split fixes: temperature and threshold, by hand."""

import numpy as np
import pytest

from pneumo.evaluation.operating_point import by_rule, calibrated, fitted_temperature


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_a_known_temperature_is_recovered(temperature: float) -> None:
    rng = np.random.default_rng(0)
    probability = 1 / (1 + np.exp(-rng.normal(0, 3, 20_000)))
    label = (rng.random(20_000) < calibrated(probability, temperature=temperature)).astype(int)
    assert fitted_temperature(label, probability) == pytest.approx(temperature, rel=0.03)


def test_a_temperature_without_a_best_value_stays_in_its_bounds() -> None:
    assert fitted_temperature([0, 1], [0.2, 0.8]) == pytest.approx(0.05)
    assert fitted_temperature([1, 0], [0.2, 0.8]) == pytest.approx(20)
    # Jeffreys' half image: four of each label right at log-odds of 2, (4 + 1/2) / 5 = 0.9 of them,
    # so T = 2 / log 9
    label, probability = np.repeat([0, 1], 4), 1 / (1 + np.exp(np.repeat([2.0, -2.0], 4)))
    fitted = fitted_temperature(label, probability, smoothed=True)
    assert fitted == pytest.approx(2 / np.log(9), rel=1e-6)


def test_each_rule_has_its_threshold_and_says_where_its_probability_is_calibrated() -> None:
    label, probability = np.repeat([0, 1], [5, 20]), np.arange(25) / 25
    temperature = fitted_temperature(label, probability)
    point = by_rule("sensitivity", (label, probability))  # finds 19 of 20
    assert point.threshold == pytest.approx(6 / 25 - 1e-6, abs=1e-9)  # not the lowest, at 5 / 25
    assert (point.images, point.prevalence, point.fixed_on) == (25, 0.8, "val")
    argmax = by_rule("argmax", (label, probability))
    assert (argmax.threshold, argmax.temperature, argmax.prevalence) == (0.5, temperature, 0.8)
    balanced = by_rule("balanced", (label, probability))
    assert (balanced.threshold, balanced.temperature, balanced.prevalence) == (0.5, None, 0.5)
    assert balanced == by_rule("balanced", "no validation split")
    # class weights in the loss: a temperature does not bring them back to the split's own share
    weighted = by_rule("argmax", (label, probability), trained_at=0.5)
    assert (weighted.temperature, weighted.prevalence) == (temperature, 0.5)
    for rule, set_aside in (("argmax", False), ("sensitivity", True)):
        without = by_rule(rule, "no validation split", trained_at=0.7)
        assert without.prevalence == 0.7
        assert (without.rule, without.threshold, without.temperature) == ("argmax", 0.5, None)
        assert (without.why_not, without.set_aside) == ("no validation split", set_aside)


def test_a_probability_of_0_or_1_has_the_odds_of_1e_7() -> None:
    sure = calibrated([0.0, 1.0], temperature=2)
    odds = np.sqrt(1e-7)  # the logarithm of the odds is halved
    assert sure == pytest.approx([odds / (1 + odds), 1 / (1 + odds)])
