"""Whether a probability means what it says: Brier score, reliability, temperature."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from pneumo.evaluation.metrics import Array, checked, ratio


def brier(label: ArrayLike, probability: ArrayLike) -> float:
    """Mean squared difference of probability and label (Brier, 1950); 0 is perfect, 1 the worst."""
    label, probability = checked(label, probability)
    return float(np.mean((probability - label) ** 2)) if label.size else float("nan")


class Reliability(NamedTuple):
    """What a reliability diagram shows, each (bins,); NaN in an empty bin."""

    images: Array  # in the bin
    probability: Array  # mean probability of PNEUMONIA in the bin
    observed: Array  # share of PNEUMONIA among the bin's images


def reliability(label: ArrayLike, probability: ArrayLike, *, bins: int = 15) -> Reliability:
    """Mean probability against the observed share in equal-width bins over [0, 1], 1 in the last.

    15 bins as in Guo et al., "On calibration of modern neural networks" (2017).
    """
    label, probability = checked(label, probability)
    index = np.minimum((probability * bins).astype(np.int64), bins - 1)
    count = np.bincount(index, minlength=bins)
    mean = ratio(np.bincount(index, weights=probability, minlength=bins), count)
    return Reliability(count, mean, ratio(np.bincount(index, label, minlength=bins), count))


def expected_calibration_error(
    label: ArrayLike, probability: ArrayLike, *, bins: int = 15
) -> float:
    """Mean distance of probability and observed share over the bins, weighted by images; [0, 1].

    Of the probability of PNEUMONIA, whichever class is called: not of the called class's
    probability (the top label), which Guo et al. (2017) and most packages mean by ECE.
    """
    count, mean, observed = reliability(label, probability, bins=bins)
    if count.sum() == 0:
        return float("nan")
    return float(np.nansum(count * np.abs(mean - observed)) / count.sum())


def at_prevalence(probability: ArrayLike, *, fitted_at: float, prevalence: float) -> Array:
    """(N,) probabilities that fit a share `fitted_at` of PNEUMONIA, as they fit `prevalence`.

    By Bayes' rule the odds change as the prior odds do; both shares are in (0, 1).
    """
    probability = np.asarray(probability, dtype=np.float64)
    sick = probability * prevalence * (1 - fitted_at)
    well = (1 - probability) * (1 - prevalence) * fitted_at
    return ratio(sick, sick + well)


def fit_temperature(label: ArrayLike, logits: ArrayLike, *, smoothed: bool = False) -> float:
    """The temperature T in [0.05, 20] at which softmax(logits / T) has the least cross-entropy.

    Guo et al. (2017); above 1 softens. Fit it on validation data.

    Args:
        label: (N,) int, 0 to C - 1.
        logits: (N, C) logits, or log-probabilities, which differ by a constant that softmax drops;
            of a probability p give log(max(p, 1e-7)), so that it stays finite.
        smoothed: n images of a label are taken as (n + 1/2) / (n + 1) of them and the rest of
            another (Platt's targets of 1999, with Jeffreys' half): of few images that are all right
            the cross-entropy has no minimum.
    """
    label, logits = np.asarray(label), np.asarray(logits, dtype=np.float64)
    if label.size == 0:
        return float("nan")
    targets = np.eye(logits.shape[1])[label]
    if smoothed:
        number = np.bincount(label)[label]
        right = (number + 0.5) / (number + 1)
        wrong = (1 - right) / (logits.shape[1] - 1)
        targets = np.where(targets == 1, right[:, None], wrong[:, None])
    own = (targets * logits).sum(1).mean()
    low, high = np.log(1 / 20), np.log(20)  # of 1 / T, in which cross-entropy is convex
    for _ in range(50):
        middle = (low + high) / 2
        share = tempered(logits, temperature=float(np.exp(-middle)))
        too_sharp = (share * logits).sum(1).mean() > own
        low, high = (low, middle) if too_sharp else (middle, high)
    return float(np.exp(-(low + high) / 2))


def tempered(logits: ArrayLike, *, temperature: float) -> Array:
    """softmax(logits / temperature) over the last axis: (N, C) probabilities."""
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    power = np.exp(scaled - scaled.max(-1, keepdims=True))
    return np.asarray(power / power.sum(-1, keepdims=True))
