"""Labels and probabilities to counts, curves, thresholds, net benefit and calibration.

Throughout, a label is 0 for NORMAL and 1 for PNEUMONIA, a probability is that of PNEUMONIA, and an
image is predicted as PNEUMONIA if its probability is at least the threshold. What is undefined (a
class without images, no image predicted as positive) is NaN, never 0. Scores are in
`pneumo.evaluation.scores`.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]

# A probability changes by some 1e-7 with the batch that it is computed in (float32)
ROUNDING = 1e-6


def confusion(label: ArrayLike, predicted: ArrayLike, *, weight: Array | None = None) -> Array:
    """Returns (2, 2) counts, rows true, columns predicted; (B, 2, 2) with weights (N, B)."""
    cell = np.asarray(label, dtype=np.int64) * 2 + np.asarray(predicted, dtype=np.int64)
    if weight is None:
        return np.bincount(cell, minlength=4).reshape(2, 2)
    sums = [weight[cell == number].sum(0, dtype=np.float64) for number in range(4)]
    return np.stack(sums, 1).reshape(-1, 2, 2)


def roc_curve(label: ArrayLike, probability: ArrayLike) -> tuple[Array, Array]:
    """Returns false and true positive rate of PNEUMONIA at each threshold, (K,), from (0, 0) up."""
    rates = (ratio(m.cumsum(0), m.sum(0))[:, 0] for m in mass_by_score(label, probability))
    false, true = (np.concatenate([[0.0], rate]) for rate in rates)
    return false, true


def precision_recall_curve(label: ArrayLike, probability: ArrayLike) -> tuple[Array, Array]:
    """Returns recall and precision of PNEUMONIA at every threshold, each (K,), recall rising.

    For NORMAL's curve give `1 - label` and `1 - probability`.
    """
    negative, positive = mass_by_score(label, probability)
    hit = positive.cumsum(0)
    return ratio(hit, positive.sum(0))[:, 0], ratio(hit, hit + negative.cumsum(0))[:, 0]


def mass_by_score(
    label: ArrayLike, score: ArrayLike, *, weight: Array | None = None
) -> tuple[Array, Array]:
    """Returns the weight of NORMAL and of PNEUMONIA at each score, highest first, (K, B) each.

    ``weight`` (N, B) is how often each image counts; one column of ones if missing.
    """
    label, score = checked(label, score)
    order = np.argsort(-score, kind="stable")
    mass = np.ones((label.size, 1)) if weight is None else weight[order]
    positive = mass * label[order, None].astype(mass.dtype)
    start = np.flatnonzero(np.diff(score[order], prepend=np.inf))
    if not start.size:
        return positive, positive
    return np.add.reduceat(mass - positive, start), np.add.reduceat(positive, start)


def predictive_values(
    *, sensitivity: ArrayLike, specificity: ArrayLike, prevalence: ArrayLike
) -> tuple[Array, Array]:
    """Returns PPV and NPV if a share `prevalence` in [0, 1] has pneumonia (Bayes' rule); broadcast.

    The set has 73 % PNEUMONIA, far more than a clinic, so its PPV and NPV do not carry over.
    """
    sick = np.asarray(prevalence, dtype=np.float64)
    true_yes, true_no = sick * np.asarray(sensitivity), (1 - sick) * np.asarray(specificity)
    false_yes, false_no = (1 - sick) - true_no, sick - true_yes
    return ratio(true_yes, true_yes + false_yes), ratio(true_no, true_no + false_no)


def sensitivity_threshold(
    label: ArrayLike, probability: ArrayLike, *, sensitivity: float = 0.95
) -> float:
    """Returns the highest threshold with at least this sensitivity; NaN without PNEUMONIA.

    It is ROUNDING below the probability of an image, so that this one is positive in any batch.
    Choose it on validation data: chosen on the test split it is optimistic.
    """
    label, probability = checked(label, probability)
    sick = np.sort(probability[label == 1])[::-1]
    needed = int(np.ceil(sensitivity * sick.size - 1e-9))  # 0.95 * 20 is 19.000000000000004
    return max(float(sick[needed - 1]) - ROUNDING, 0.0) if sick.size else float("nan")


def youden_threshold(label: ArrayLike, probability: ArrayLike) -> float:
    """Returns the highest threshold with the greatest Youden index; NaN without one of the labels.

    Sensitivity + specificity - 1; Youden, Cancer 3 (1950) 32. Noisy on few images. ROUNDING below
    the probability of its image, as sensitivity_threshold.
    """
    label, probability = checked(label, probability)
    values = np.unique(probability)[::-1]
    sick, well = np.sort(probability[label == 1]), np.sort(probability[label == 0])
    if not (sick.size and well.size):
        return float("nan")
    true_rate, false_rate = (1 - np.searchsorted(g, values) / g.size for g in (sick, well))
    index = (true_rate - false_rate).round(12)  # else rounding breaks ties
    return max(float(values[np.argmax(index)]) - ROUNDING, 0.0)


def net_benefit(
    label: ArrayLike,
    probability: ArrayLike,
    *,
    threshold: ArrayLike,
    prevalence: float | None = None,
) -> Array:
    """Returns the net benefit per image of treating at each threshold (K,) in [0, 1), (K,).

    A decision curve: TP/N - FP/N * t/(1 - t), Vickers & Elkin, Med Decis Making 26 (2006) 565.
    Treating everyone is this with all probabilities 1; treating no one is 0. It is at the images'
    own share of PNEUMONIA, or, by Bayes' rule, at ``prevalence`` in [0, 1].
    """
    label, probability = checked(label, probability)
    chance = np.atleast_1d(np.asarray(threshold, dtype=np.float64))
    sick, well = np.sort(probability[label == 1]), np.sort(probability[label == 0])
    true_yes, false_yes = (g.size - np.searchsorted(g, chance) for g in (sick, well))
    odds = chance / (1 - chance)
    if prevalence is None:
        return ratio(true_yes - false_yes * odds, np.full(chance.shape, label.size))
    treated, for_nothing = ratio(true_yes, sick.size), ratio(false_yes, well.size)
    return np.asarray(prevalence * treated - (1 - prevalence) * for_nothing * odds)


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


def checked(label: ArrayLike, probability: ArrayLike) -> tuple[Array, Array]:
    """Returns (N,) int64 labels and (N,) float64 probabilities; ValueError for others."""
    label, probability = np.asarray(label), np.asarray(probability, dtype=np.float64)
    if label.shape != (label.size,) or label.shape != probability.shape:
        raise ValueError(
            f"label and probability must both be (N,); got {label.shape} and {probability.shape}"
        )
    if not np.isin(label, (0, 1)).all():
        raise ValueError(f"labels must be 0 (NORMAL) or 1 (PNEUMONIA); got {np.unique(label)}")
    return label.astype(np.int64), probability


def ratio(part: ArrayLike, whole: ArrayLike) -> Array:
    """Returns part / whole in float64, broadcast; NaN where whole is not above 0."""
    part, whole = np.broadcast_arrays(
        np.asarray(part, dtype=np.float64), np.asarray(whole, dtype=np.float64)
    )
    quotient: Array = np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)
    return quotient
