"""Fixed on a validation split before scoring: threshold, temperature, weights of members."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from pneumo.choices import SENSITIVITY
from pneumo.evaluation.metrics import Array, sensitivity_threshold

TINIEST = 1e-7  # probabilities nearer to 0 or 1 count as this near
HOTTEST = 20  # temperatures are fitted in [1 / HOTTEST, HOTTEST]
MAX_STEPS, TOLERANCE = 2000, 1e-9  # of the ensemble's weights
VOTE = (
    "majority vote: each run votes at 0.5, a tie is PNEUMONIA; the share of votes is not a "
    "probability, its AUROC ranks by that share, equal shares counting half"
)


@dataclass(frozen=True)
class OperatingPoint:
    """An operating point and a temperature, fixed on validation images."""

    threshold: float  # on the raw probability of PNEUMONIA
    temperature: float  # of `calibrated`
    images: int  # of the validation split
    prevalence: float  # share of PNEUMONIA among them
    sensitivity: float = SENSITIVITY  # at least this on the validation split


def fit_on_validation(label: ArrayLike, probability: ArrayLike) -> OperatingPoint:
    """Returns the point of (N,) labels and (N,) raw probabilities of a validation split."""
    label, probability = np.asarray(label), np.asarray(probability, dtype=np.float64)
    threshold = sensitivity_threshold(label, probability, sensitivity=SENSITIVITY)
    temperature = fitted_temperature(label, probability)
    return OperatingPoint(threshold, temperature, label.size, prevalence=float(label.mean()))


def fitted_temperature(
    label: ArrayLike, probability: ArrayLike, *, smoothed: bool = False
) -> float:
    """Returns the temperature of `calibrated` with the least cross-entropy; NaN without images.

    Guo et al., "On calibration of modern neural networks" (2017); above 1 softens. Fit it on
    validation data: (N,) labels, 0 or 1, and raw probabilities of PNEUMONIA. ``smoothed``: n images
    of a label count as (n + 1/2) / (n + 1) of them and the rest of the other (Platt's targets of
    1999, with Jeffreys' half): the cross-entropy of few images that are all right has no minimum.
    """
    label, logits = np.asarray(label), _logits(probability)
    if label.size == 0:
        return float("nan")
    number = np.bincount(label)[label]
    right = (number + 0.5) / (number + 1) if smoothed else np.ones(label.size)
    targets = np.where(np.eye(2)[label] == 1, right[:, None], 1 - right[:, None])
    target = (targets * logits).sum(1).mean()
    low, high = -np.log(HOTTEST), np.log(HOTTEST)  # of 1 / T, in which cross-entropy is convex
    for _ in range(50):
        middle = (low + high) / 2
        share = _softmax(logits * np.exp(middle))
        too_sharp = (share * logits).sum(1).mean() > target
        low, high = (low, middle) if too_sharp else (middle, high)
    return float(np.exp(-(low + high) / 2))


def at_bound(temperature: float) -> str:
    """Returns a clause on a temperature at a bound of its range; "" within it."""
    if np.isclose(temperature, HOTTEST):
        return ", its upper bound: the flattest probabilities fit best, as if all were 0.5"
    if np.isclose(temperature, 1 / HOTTEST):
        return ", its lower bound: the sharpest probabilities fit best"
    return ""


def calibrated(probability: ArrayLike, *, temperature: float) -> Array:
    """Returns (N,) calibrated probabilities of PNEUMONIA: softmax(logits / temperature).

    0.5 stays, and so does the order.
    """
    return _softmax(_logits(probability) / temperature)[:, 1]


def fit_weights(label: ArrayLike, probability: ArrayLike) -> Array:
    """Returns (M,) weights, not negative and of sum 1, of the best weighted mean of M members.

    The best has the least cross-entropy, which is convex in the weights: expectation maximisation
    for a mixture of known parts (Dempster, Laird & Rubin, 1977). ``label``: (N,) int, 0 or 1, of
    validation images; ``probability``: (M, N) of PNEUMONIA.
    """
    probability = np.asarray(probability, dtype=np.float64)
    likelihood = np.where(np.asarray(label) == 1, probability, 1 - probability)
    likelihood = np.maximum(likelihood, TINIEST)
    weight = np.full(len(likelihood), 1 / len(likelihood))
    for _ in range(MAX_STEPS):
        share = weight[:, None] * likelihood
        new = (share / share.sum(0)).mean(1)
        change, weight = np.abs(new - weight).max(), new
        if change < TOLERANCE:
            break
    return np.asarray(weight)


def vote_share(probability: ArrayLike) -> Array:
    """Returns (N,) float64 in [0, 1]: the share of M members that predict PNEUMONIA, at 0.5.

    A share of 0.5 or more is the majority's PNEUMONIA; so is a tie, since a missed pneumonia is the
    worse error. ``probability``: (M, N) of PNEUMONIA.

    >>> vote_share([[0.9, 0.2], [0.6, 0.4], [0.1, 0.7]]).round(2).tolist()
    [0.67, 0.33]
    """
    return np.asarray((np.asarray(probability, dtype=np.float64) >= 0.5).mean(0))


def _logits(probability: ArrayLike) -> Array:
    probability = np.asarray(probability, dtype=np.float64)
    both = np.stack([1 - probability, probability], 1)
    return np.asarray(np.log(np.maximum(both, TINIEST)))


def _softmax(logits: Array) -> Array:
    power = np.exp(logits - logits.max(-1, keepdims=True))
    return np.asarray(power / power.sum(-1, keepdims=True))
