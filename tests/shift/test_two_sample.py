import numpy as np
import pytest

from pneumo.shift.two_sample import PERMUTATIONS, classifier_test, larger


def draws(n: int, *, seed: int, moved: float = 0.0) -> np.ndarray:
    values: np.ndarray = np.random.default_rng(seed).normal(moved, 1, (n, 6))
    return values


def test_p_of_sets_that_do_not_differ_is_uniform() -> None:
    p = [classifier_test(draws(30, seed=n), draws(40, seed=1000 + n), seed=n).p for n in range(40)]
    assert np.mean(np.array(p) <= 0.05) < 0.15
    assert 0.3 < np.mean(p) < 0.7


def test_a_moved_set_is_told_from_chance_which_more_images_lower() -> None:
    found = classifier_test(draws(60, seed=0), draws(60, seed=1, moved=0.6))
    assert found.auroc > 0.8 > found.chance
    assert found.p == 1 / (1 + PERMUTATIONS)
    few, many = (classifier_test(draws(n, seed=0), draws(n, seed=1)).chance for n in (20, 300))
    assert 0.5 < many < few


def test_what_was_needed_is_what_the_decision_takes() -> None:
    strict = 0.025 / 6
    for seed in range(12):
        found = classifier_test(draws(40, seed=seed), draws(40, seed=99, moved=0.25), alpha=strict)
        assert found.needed > found.chance
        assert (found.p < strict) == (found.auroc > found.needed)


def test_one_measure_is_compared_but_of_few_or_equal_values() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(0, 1, 200), np.append(rng.normal(1, 1, 200), np.nan)
    found = larger(first, second)
    assert found.share == pytest.approx((second[:200, None] > first).mean())
    assert found.p < 1e-6
    spread = larger(first, rng.normal(0, 3, 200))
    assert spread.share == pytest.approx(0.5, abs=0.1)
    assert spread.p < 0.001
    many, few = np.zeros(200), np.full(200, np.nan)
    few[:19] = 1
    for pair in ((many, few), (few, many), (many, few[:1])):
        found = larger(*pair)
        assert found.share in (0, 1)
        assert np.isnan(found.p)
    few[19] = 1
    assert larger(many, few).p < 0.001
    alike = larger(np.ones(30), np.ones(25))
    assert alike.share == 0.5
    assert np.isnan(alike.p)
    assert np.isnan(larger(np.full(3, np.nan), np.ones(5)).share)
