"""Permutation tests of whether two sets of images differ by more than chance."""

import math
from typing import NamedTuple

import numpy as np

from pneumo.evaluation.metrics import Array

PERMUTATIONS = 999  # so that the smallest p is 0.001
NUM_FOLDS = 5
RIDGE = 0.1  # penalty of the standardised values' weights, per image
MIN_IMAGES = 20  # of each set, with a known value, for a test
LEVEL = 0.95


class Separation(NamedTuple):
    """How well a classifier separates two sets."""

    auroc: float  # cross-validated; 0.5 is not at all, 1 is always
    chance: float  # AUROC below which LEVEL of the permutations stay
    needed: float  # AUROC above which it is a difference, even if it is the only one of all tests
    p: float


def classifier_test(
    first: Array, second: Array, *, seed: int = 0, alpha: float = 1 - LEVEL
) -> Separation:
    """Returns whether two sets are exchangeable, by a classifier (Lopez-Paz and Oquab, 2017).

    A linear classifier (ridge regression on standardised values) predicts the set of an image, by
    five-fold cross-validation. If images are exchangeable, its AUROC is as high as with the sets'
    names shuffled: p is the share of shuffles that do as well. It finds differences of means, alone
    or together, not sets that differ only in their spread.

    Args:
        first: (n, c) float, finite, an image of each patient.
        second: (m, c).
        seed: of folds and shuffles.
        alpha: p below which a single test is a difference.
    """
    from scipy.stats import rankdata
    from sklearn.linear_model import Ridge
    from sklearn.model_selection import KFold
    from sklearn.preprocessing import StandardScaler

    values = StandardScaler().fit_transform(np.concatenate([first, second]))
    names = np.repeat([0.0, 1.0], [len(first), len(second)])
    shuffled = np.repeat(names[:, None], 1 + PERMUTATIONS, axis=1)
    shuffled[:, 1:] = np.random.default_rng(seed).permuted(shuffled[:, 1:], axis=0)
    score = np.empty(shuffled.shape)
    # the folds must not depend on the names, else the shuffled ones would not be their equals
    for train, test in KFold(NUM_FOLDS, shuffle=True, random_state=seed).split(values):
        model = Ridge(alpha=RIDGE * len(train)).fit(values[train], shuffled[train])
        predicted = model.predict(values[test])
        score[test] = predicted - predicted.mean(0)  # each fold's level reveals the share left out
    rank = rankdata(score, axis=0)
    auroc = ((rank * shuffled).sum(0) - len(second) * (len(second) + 1) / 2) / (
        len(first) * len(second)
    )
    p = np.mean(auroc >= auroc[0] - 1e-12)  # the sets' own names are one of the shuffles
    by_chance = np.sort(auroc[1:])[::-1]
    most_as_good = math.ceil(alpha * (1 + PERMUTATIONS) - 1 - 1e-9) - 1  # of the shuffles
    needed = by_chance[most_as_good] if most_as_good >= 0 else 1.0
    return Separation(*map(float, (auroc[0], np.quantile(by_chance, LEVEL), needed, p)))


class Larger(NamedTuple):
    """How one measure differs between two sets."""

    share: float  # of pairs in which the second set's image has the larger value, ties half
    p: float  # of Kolmogorov and Smirnov; NaN if it cannot be tested


def larger(first: Array, second: Array) -> Larger:
    """Returns how one measure of (n,) and (m,) images differs; NaN values are left out.

    The p value is NaN with fewer than MIN_IMAGES values of a set, or if all are alike.
    """
    from scipy.stats import ks_2samp, rankdata

    first, second = (values[np.isfinite(values)] for values in (first, second))
    share = p = float("nan")
    if first.size and second.size:
        both = np.concatenate([first, second])
        rank = rankdata(both)[first.size :]
        share = (rank.sum() - second.size * (second.size + 1) / 2) / (first.size * second.size)
        if min(first.size, second.size) >= MIN_IMAGES and (both != both[0]).any():
            # the exact form fails, with a warning, for some sizes and ties
            p = ks_2samp(first, second, method="asymp").pvalue
    return Larger(float(share), float(p))
