"""What is fixed on a run's validation split before anything is scored: threshold, temperature."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from pneumo.choices import SENSITIVITY
from pneumo.evaluation.calibration import fit_temperature, tempered
from pneumo.evaluation.metrics import Array, sensitivity_threshold

TINIEST = 1e-7  # a probability nearer to 0 or 1 has its logarithm taken here
MAX_STEPS, TOLERANCE = 2000, 1e-9  # of the ensemble's weights


@dataclass(frozen=True)
class OperatingPoint:
    """An operating point and a temperature, fixed on validation images."""

    threshold: float  # on the raw probability of PNEUMONIA
    temperature: float  # softmax(logits / temperature)
    images: int  # of the validation split
    prevalence: float  # share of PNEUMONIA among them
    sensitivity: float = SENSITIVITY  # at least this on the validation split


def fit_on_validation(label: ArrayLike, probability: ArrayLike) -> OperatingPoint:
    """Returns the point that (N,) labels and (N,) raw probabilities of a validation split give."""
    label, probability = np.asarray(label), np.asarray(probability, dtype=np.float64)
    threshold = sensitivity_threshold(label, probability, sensitivity=SENSITIVITY)
    temperature = fitted_temperature(label, probability)
    return OperatingPoint(threshold, temperature, label.size, prevalence=float(label.mean()))


def fitted_temperature(
    label: ArrayLike, probability: ArrayLike, *, smoothed: bool = False
) -> float:
    """The temperature for `calibrated` that (N,) labels and (N,) raw probabilities give.

    ``smoothed``: for few images, see `fit_temperature`.
    """
    logits = _logits(np.asarray(probability, dtype=np.float64))
    return fit_temperature(label, logits, smoothed=smoothed)


def calibrated(probability: ArrayLike, *, temperature: float) -> Array:
    """(N,) raw to (N,) calibrated probabilities of PNEUMONIA; 0.5 stays, the order stays."""
    return tempered(_logits(np.asarray(probability)), temperature=temperature)[:, 1]


def fit_weights(label: ArrayLike, probability: ArrayLike) -> Array:
    """Returns (M,) weights, not negative and of sum 1, that make the best mean of M members.

    Best is the least cross-entropy of the weighted mean, which is convex in the weights; found by
    expectation maximisation for a mixture of known parts (Dempster, Laird & Rubin, 1977).

    Args:
        label: (N,) int, 0 or 1, of validation images.
        probability: (M, N) of PNEUMONIA, one row for each member.
    """
    probability = np.asarray(probability, dtype=np.float64)
    likelihood = np.where(np.asarray(label) == 1, probability, 1 - probability)
    likelihood = np.maximum(likelihood, TINIEST)
    weight = np.full(len(likelihood), 1 / len(likelihood))
    for _ in range(MAX_STEPS):
        share = weight[:, None] * likelihood
        new = (share / share.sum(0)).mean(1)
        done = np.abs(new - weight).max() < TOLERANCE
        weight = new
        if done:
            break
    return np.asarray(weight)


def _logits(probability: Array) -> Array:
    both = np.stack([1 - probability, probability], 1)
    return np.asarray(np.log(np.maximum(both, TINIEST)))
