"""Labels and probabilities to numbers: scores, curves, operating points.

Throughout, a label is 0 for NORMAL and 1 for PNEUMONIA, a probability is that of PNEUMONIA, and an
image is called PNEUMONIA when its probability is at least the threshold. PNEUMONIA is the positive
class of sensitivity, AUROC and average precision; precision, recall and F1 carry their class in the
name. What is undefined (a class without images, nothing called positive) is NaN, never 0.
Intervals are in `pneumo.evaluation.intervals`, calibration in `pneumo.evaluation.calibration`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array  # sums of rows, several times faster than reduceat

from pneumo.labels import CLASS_NAMES

Array = NDArray[Any]

COUNT_SCORES = (
    "accuracy",
    *(f"{score}_{name.lower()}" for name in CLASS_NAMES for score in ("precision", "recall", "f1")),
)
RANK_SCORES = ("auroc", "average_precision")
SCORES = COUNT_SCORES + RANK_SCORES
# A probability changes by some 1e-7 with the batch that it is computed in (float32)
ROUNDING = 1e-6


def scores(label: ArrayLike, probability: ArrayLike, *, threshold: float = 0.5) -> dict[str, float]:
    """Every score of `SCORES` for one set of images, each in [0, 1] or NaN.

    Args:
        label: (N,) int, 0 NORMAL, 1 PNEUMONIA.
        probability: (N,) float in [0, 1], of PNEUMONIA.
        threshold: PNEUMONIA is called at this probability or above.

    Raises:
        ValueError: if shapes differ, or a label is neither 0 nor 1.
    """
    label, probability = checked(label, probability)
    one_each = np.ones((label.size, 1))
    weighted = weighted_scores(label, probability, weight=one_each, threshold=threshold)
    return {name: float(value[0]) for name, value in weighted.items()}


def weighted_scores(
    label: ArrayLike,
    probability: ArrayLike,
    *,
    weight: Array,
    threshold: float = 0.5,
    names: Sequence[str] = SCORES,
) -> dict[str, Array]:
    """Scores for B weightings of the images at once: name to (B,) float64.

    Args:
        label: (N,) int, 0 or 1.
        probability: (N,) float in [0, 1].
        weight: (N, B), how often each image counts in each resample; float32 is the fastest.
        threshold: PNEUMONIA is called at this probability or above.
        names: which of `SCORES`.
    """
    label, probability = checked(label, probability)
    if np.isnan(probability).any():  # an unknown probability leaves every score unknown
        return {name: np.full(weight.shape[1], np.nan) for name in names}
    called = (probability >= threshold).astype(np.int64)
    values = count_scores(confusion(label, called, weight=weight))
    if "auroc" in names:
        values["auroc"] = _auroc(label, probability, weight=weight)
    if "average_precision" in names:
        values["average_precision"] = _average_precision(label, probability, weight=weight)
    return {name: values[name] for name in names}


def confusion(label: ArrayLike, called: ArrayLike, *, weight: Array | None = None) -> Array:
    """(2, 2) counts, rows true and columns called, NORMAL first; (B, 2, 2) with weights (N, B)."""
    cell = np.asarray(label, dtype=np.int64) * 2 + np.asarray(called, dtype=np.int64)
    if weight is None:
        counts: Array = np.bincount(cell, minlength=4).reshape(2, 2)
        return counts
    # sparse: a product of matrices with four columns is slow in BLAS, most of all with its threads
    ends = np.append(0, np.bincount(cell, minlength=4).cumsum())
    order = np.argsort(cell, kind="stable")
    in_cell = csr_array((np.ones(cell.size, weight.dtype), order, ends), shape=(4, cell.size))
    weighted: Array = in_cell @ weight
    return weighted.T.astype(np.float64).reshape(-1, 2, 2)


def count_scores(confusion: Array) -> dict[str, Array]:
    """Accuracy, and precision, recall and F1 of each class, of confusions (..., 2, 2) as (...).

    All three scores of a class without a true image are NaN. So is precision where no image was
    called that class; recall and F1 are then 0, since images of the class were missed.
    """
    counts = np.asarray(confusion, dtype=np.float64)
    values = {"accuracy": ratio(np.trace(counts, axis1=-2, axis2=-1), counts.sum((-2, -1)))}
    for index, name in enumerate(CLASS_NAMES):
        hit = counts[..., index, index]
        true, called = counts[..., index, :].sum(-1), counts[..., :, index].sum(-1)
        there = np.where(true > 0, 1.0, np.nan)
        values[f"precision_{name.lower()}"] = there * ratio(hit, called)
        values[f"recall_{name.lower()}"] = ratio(hit, true)
        values[f"f1_{name.lower()}"] = there * ratio(2 * hit, true + called)
    return values


def auroc(label: ArrayLike, probability: ArrayLike) -> float:
    """The chance that a PNEUMONIA image outranks a NORMAL one, ties counting half; [0, 1]."""
    return scores(label, probability)["auroc"]


def average_precision(label: ArrayLike, probability: ArrayLike) -> float:
    """Precision averaged over the steps of recall of PNEUMONIA, not interpolated; [0, 1]."""
    return scores(label, probability)["average_precision"]


def lowest_average_precision(label: ArrayLike) -> float:
    """The average precision of the worst order, in (0, 1) (Boyd et al., ICML 2012); of both labels.

    With 90 % PNEUMONIA it is 0.74.
    """
    label = np.asarray(label)
    hit = np.arange(1, label.sum() + 1)
    return float((hit / (hit + (label == 0).sum())).mean())


def roc_curve(label: ArrayLike, probability: ArrayLike) -> tuple[Array, Array]:
    """False and true positive rate of PNEUMONIA at every threshold, each (K,), from (0, 0) up."""
    negative, positive = _mass_by_score(*checked(label, probability))
    fall_out, recall = (ratio(m.cumsum(0), m.sum(0))[:, 0] for m in (negative, positive))
    return np.concatenate([[0.0], fall_out]), np.concatenate([[0.0], recall])


def precision_recall_curve(label: ArrayLike, probability: ArrayLike) -> tuple[Array, Array]:
    """Recall and precision of PNEUMONIA at every threshold, each (K,), recall rising.

    For NORMAL's curve give `1 - label` and `1 - probability`.
    """
    negative, positive = _mass_by_score(*checked(label, probability))
    hit = positive.cumsum(0)
    return ratio(hit, positive.sum(0))[:, 0], ratio(hit, hit + negative.cumsum(0))[:, 0]


def operating_point(
    label: ArrayLike, probability: ArrayLike, *, threshold: float
) -> dict[str, float]:
    """Sensitivity, specificity, PPV and NPV for PNEUMONIA at one threshold, each in [0, 1]."""
    label, probability = checked(label, probability)
    (true_no, false_yes), (false_no, true_yes) = confusion(label, probability >= threshold)
    pairs = {
        "sensitivity": (true_yes, true_yes + false_no),
        "specificity": (true_no, true_no + false_yes),
        "ppv": (true_yes, true_yes + false_yes),
        "npv": (true_no, true_no + false_no),
    }
    return {"threshold": threshold} | {name: float(ratio(*pair)) for name, pair in pairs.items()}


def predictive_values(
    *, sensitivity: ArrayLike, specificity: ArrayLike, prevalence: ArrayLike
) -> tuple[Array, Array]:
    """PPV and NPV where a share `prevalence` in [0, 1] has pneumonia, by Bayes' rule; broadcast.

    The set's own 73 % PNEUMONIA is no clinic's, so its PPV and NPV do not carry over.
    """
    sick = np.asarray(prevalence, dtype=np.float64)
    true_yes, true_no = sick * np.asarray(sensitivity), (1 - sick) * np.asarray(specificity)
    false_yes, false_no = (1 - sick) - true_no, sick - true_yes
    return ratio(true_yes, true_yes + false_yes), ratio(true_no, true_no + false_no)


def sensitivity_threshold(
    label: ArrayLike, probability: ArrayLike, *, sensitivity: float = 0.95
) -> float:
    """The highest threshold whose sensitivity is at least the one asked for; NaN if none is sick.

    It is ROUNDING below the image that it stands on, so that this one stays positive in whichever
    batch it is scored. Choose it on validation data: chosen on the test split it is optimistic.
    """
    if not 0 < sensitivity <= 1:
        raise ValueError(f"sensitivity must be in (0, 1]; got {sensitivity}; the default is 0.95")
    label, probability = checked(label, probability)
    sick = np.sort(probability[label == 1])[::-1]
    needed = int(np.ceil(sensitivity * sick.size - 1e-9))  # 0.95 * 20 is 19.000000000000004
    return max(float(sick[needed - 1]) - ROUNDING, 0.0) if sick.size else float("nan")


def youden_threshold(label: ArrayLike, probability: ArrayLike) -> float:
    """The highest threshold with the greatest sensitivity + specificity - 1; NaN without a label.

    Youden, Cancer 3 (1950) 32. Noisy on few images, since it follows both labels' tails. ROUNDING
    below its image, as sensitivity_threshold is.
    """
    label, probability = checked(label, probability)
    values = np.unique(probability)[::-1]
    sick, well = np.sort(probability[label == 1]), np.sort(probability[label == 0])
    if not (sick.size and well.size):
        return float("nan")
    called, falsely = (1 - np.searchsorted(g, values) / g.size for g in (sick, well))
    return max(float(values[np.argmax(called - falsely)]) - ROUNDING, 0.0)


def net_benefit(
    label: ArrayLike,
    probability: ArrayLike,
    *,
    threshold: ArrayLike,
    prevalence: float | None = None,
) -> Array:
    """Net benefit per image of treating at each threshold (K,) in [0, 1): a decision curve, (K,).

    TP/N - FP/N * t/(1 - t), Vickers & Elkin, Med Decis Making 26 (2006) 565. Treating everyone is
    this with all probabilities 1; treating no one is 0. It is at the images' own share of
    PNEUMONIA, or, by Bayes' rule, at `prevalence` in [0, 1].
    """
    label, probability = checked(label, probability)
    chance = np.atleast_1d(np.asarray(threshold, dtype=np.float64))
    sick, well = np.sort(probability[label == 1]), np.sort(probability[label == 0])
    true_yes, false_yes = (g.size - np.searchsorted(g, chance, "left") for g in (sick, well))
    odds = chance / (1 - chance)
    if prevalence is None:
        return ratio(true_yes - false_yes * odds, np.full(chance.shape, label.size))
    treated, for_nothing = ratio(true_yes, sick.size), ratio(false_yes, well.size)
    return np.asarray(prevalence * treated - (1 - prevalence) * for_nothing * odds)


def checked(label: ArrayLike, probability: ArrayLike) -> tuple[Array, Array]:
    """(N,) int64 labels and (N,) float64 probabilities; ValueError for any other shape or label."""
    label, probability = np.asarray(label), np.asarray(probability, dtype=np.float64)
    if label.ndim != 1 or label.shape != probability.shape:
        raise ValueError(
            "label and probability must both be (N,); "
            f"got {label.shape} and {probability.shape}; give the probability of PNEUMONIA only"
        )
    if not np.isin(label, (0, 1)).all():
        strange = next(value for value in label if value not in (0, 1))
        raise ValueError(f"a label must be 0 (NORMAL) or 1 (PNEUMONIA); got {strange!r}")
    return label.astype(np.int64), probability


def _mass_by_score(
    label: Array, probability: Array, *, weight: Array | None = None
) -> tuple[Array, Array]:
    """Weight of NORMAL and of PNEUMONIA at each distinct score, highest first: two of (K, B)."""
    order = np.argsort(-probability, kind="stable")
    mass = np.ones((label.size, 1)) if weight is None else weight[order]
    positive = mass * label[order, None].astype(mass.dtype)
    negative = mass - positive
    start = np.flatnonzero(np.diff(probability[order], prepend=np.inf))
    if 0 < start.size < label.size:
        return np.add.reduceat(negative, start), np.add.reduceat(positive, start)
    return negative, positive


def _average_precision(label: Array, probability: Array, *, weight: Array) -> Array:
    negative, positive = _mass_by_score(label, probability, weight=weight)
    hit = positive.cumsum(0)
    called = hit + negative.cumsum(0)
    precision = np.divide(hit, called, out=np.zeros_like(hit), where=called > 0)
    there = np.where(negative.sum(0) > 0, 1.0, np.nan)
    return there * ratio(np.einsum("kb,kb->b", positive, precision), positive.sum(0))


def _auroc(label: Array, probability: Array, *, weight: Array) -> Array:
    """AUROC of B weightings, (B,).

    Ranked, good scores are a few long runs of one label, and no pair within a run counts: only the
    sums of the runs are needed, which is several times faster than ranking image by image.
    """
    order = np.lexsort((label, -probability))  # among equal scores NORMAL comes first
    rank, sick = probability[order], label[order] == 1
    new_label, new_score = sick[1:] != sick[:-1], rank[1:] != rank[:-1]
    tied = bool((new_label & ~new_score).any())
    start = np.flatnonzero(np.append(True, new_label | new_score if tied else new_label))
    if label.size == 0 or sick.all() or not sick.any():
        return np.full(weight.shape[1], np.nan)
    ones, ends = np.ones(label.size, weight.dtype), np.append(start, label.size)
    mass = csr_array((ones, order, ends), shape=(start.size, label.size)) @ weight
    sick = sick[start]
    above = np.where(sick[:, None], mass, 0).cumsum(0)
    won = np.einsum("kb,kb->b", mass[~sick], above[~sick])
    if tied:
        pair = np.flatnonzero(sick[1:] & (rank[start[1:]] == rank[start[:-1]]))
        won = won + np.einsum("kb,kb->b", mass[pair], mass[pair + 1]) / 2
    return ratio(won, above[-1].astype(np.float64) * mass[~sick].sum(0))


def ratio(part: ArrayLike, whole: ArrayLike) -> Array:
    """Divide, in float64, broadcast; NaN where whole is not above 0."""
    part, whole = np.broadcast_arrays(
        np.asarray(part, dtype=np.float64), np.asarray(whole, dtype=np.float64)
    )
    quotient: Array = np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)
    return quotient
