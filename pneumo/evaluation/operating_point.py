"""Threshold, temperature and weights of members, fixed before scoring."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from pneumo.choices import ARGMAX, AT_SENSITIVITY, BALANCED, SENSITIVITY
from pneumo.evaluation.metrics import Array, sensitivity_threshold

TINIEST = 1e-7  # probabilities nearer to 0 or 1 count as this near
HOTTEST = 20  # temperatures are fitted in [1 / HOTTEST, HOTTEST]
MAX_STEPS, TOLERANCE = 2000, 1e-9  # of the ensemble's weights
EQUAL = "decision=balanced states probabilities for equal classes"
VOTE = (
    "majority vote: each run votes at 0.5, a tie is PNEUMONIA; the share of votes is not a "
    "probability, its AUROC ranks by that share, equal shares counting half"
)


@dataclass(frozen=True)
class OperatingPoint:
    """A decision rule with its threshold, and the temperature; by default argmax and none."""

    rule: str = ARGMAX  # of pneumo.choices.RULES
    threshold: float = 0.5  # on the raw probability of PNEUMONIA
    temperature: float | None = None  # of `calibrated`, fitted on validation images
    why_not: str = ""  # why no temperature is fitted
    set_aside: bool = False  # whether, for this reason, another rule could not be used
    images: int = 0  # of the validation split
    prevalence: float | None = None  # that the probabilities are for; None: of the scored images

    @property
    def fixed_on(self) -> str | None:
        """The split that the threshold is fixed on, or None."""
        return "val" if self.rule == AT_SENSITIVITY else None


def by_rule(
    rule: str, val: tuple[ArrayLike, ArrayLike] | str, *, trained_at: float | None = None
) -> OperatingPoint:
    """Returns the operating point of a decision rule, one of pneumo.choices.RULES.

    ``val``: (N,) labels and (N,) raw probabilities of a validation split, or why there is none;
    then sensitivity is set aside for argmax. The probabilities are for ``trained_at``, the share
    of PNEUMONIA in training by the weights of the loss; a temperature, which leaves 0.5, leaves
    it. None: that of the validation split. With balanced there is no temperature, which would move
    probabilities for equal classes towards the classes of the validation split.
    """
    if rule == BALANCED:
        return OperatingPoint(rule, why_not=EQUAL, prevalence=0.5)
    if isinstance(val, str):
        set_aside = rule == AT_SENSITIVITY
        return OperatingPoint(why_not=val, set_aside=set_aside, prevalence=trained_at)
    label, probability = np.asarray(val[0]), np.asarray(val[1], dtype=np.float64)
    threshold = 0.5
    if rule == AT_SENSITIVITY:
        threshold = sensitivity_threshold(label, probability, sensitivity=SENSITIVITY)
    temperature = fitted_temperature(label, probability)
    share = float(label.mean()) if trained_at is None else trained_at
    return OperatingPoint(rule, threshold, temperature, images=label.size, prevalence=share)


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
    sharpest = ", its lower bound: the sharpest probabilities fit best"
    return sharpest if np.isclose(temperature, 1 / HOTTEST) else ""


def calibrated(probability: ArrayLike, *, temperature: float) -> Array:
    """Returns (N,) calibrated probabilities of PNEUMONIA: softmax(logits / temperature).

    0.5 stays, and so does the order.
    """
    return _softmax(_logits(probability) / temperature)[:, 1]


def fit_weights(label: ArrayLike, probability: ArrayLike) -> Array:
    """Returns (M,) weights, not negative and of sum 1, of the best weighted mean of M members.

    The best has the least cross-entropy on validation images, by expectation maximisation for a
    mixture of known parts (Dempster, Laird & Rubin, 1977). ``label``: (N,) int, 0 or 1;
    ``probability``: (M, N) of PNEUMONIA.
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
    """Returns (N,) in [0, 1]: the share of M members that predict PNEUMONIA, at 0.5, (M, N) given.

    0.5 or more is the majority's PNEUMONIA; so is a tie: a missed pneumonia is the worse error.

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
