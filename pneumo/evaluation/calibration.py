"""Calibration of probabilities: Brier score, reliability, calibration error, prevalence."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from pneumo.evaluation.metrics import Array, checked, ratio


def brier(label: ArrayLike, probability: ArrayLike) -> float:
    """Returns the mean squared difference of probability and label (Brier, 1950); 0 is perfect."""
    label, probability = checked(label, probability)
    return float(np.mean((probability - label) ** 2)) if label.size else float("nan")


class Reliability(NamedTuple):
    """The bars of a reliability diagram, (bins,) each; NaN in an empty bin."""

    images: Array  # in the bin
    probability: Array  # mean probability of PNEUMONIA in the bin
    observed: Array  # share of PNEUMONIA among the bin's images


def reliability(label: ArrayLike, probability: ArrayLike, *, bins: int = 15) -> Reliability:
    """Returns mean probability and observed share in equal-width bins over [0, 1], 1 in the last.

    15 bins as in Guo et al., "On calibration of modern neural networks" (2017).
    """
    label, probability = checked(label, probability)
    index = np.minimum((probability * bins).astype(np.int64), bins - 1)
    count = np.bincount(index, minlength=bins)
    mean = ratio(np.bincount(index, weights=probability, minlength=bins), count)
    return Reliability(count, mean, ratio(np.bincount(index, label, minlength=bins), count))


def expected_calibration_error(label: ArrayLike, probability: ArrayLike) -> float:
    """Returns the mean distance of probability and observed share, weighted by images; [0, 1].

    It uses the probability of PNEUMONIA, not that of the predicted class (the top label), which
    Guo et al. (2017) and most packages mean by ECE.
    """
    count, mean, observed = reliability(label, probability)
    if count.sum() == 0:
        return float("nan")
    return float(np.nansum(count * np.abs(mean - observed)) / count.sum())


def at_prevalence(probability: ArrayLike, *, fitted_at: float, prevalence: float) -> Array:
    """Returns (N,) probabilities for a share `prevalence` of PNEUMONIA, of those for `fitted_at`.

    By Bayes' rule the odds change as the prior odds do; both shares are in (0, 1).
    """
    probability = np.asarray(probability, dtype=np.float64)
    sick = probability * prevalence * (1 - fitted_at)
    well = (1 - probability) * (1 - prevalence) * fitted_at
    return ratio(sick, sick + well)
