"""How much each image moves a score: its derivative with the image's weight, for intervals.

A score is a function of weighted sums over images, so its variance is that of the sum of these
derivatives (the delta method; the infinitesimal jackknife). Only the order of the scores counts in
the ranking ones: any monotone function of the probability, such as a logit, gives the same.
"""

from typing import NamedTuple

import numpy as np

from pneumo.evaluation.metrics import Array
from pneumo.labels import CLASS_NAMES


class Linear(NamedTuple):
    """A score of N images and its derivative with the weight of each; the sum of these is 0."""

    value: float
    change: Array  # (N,) float64


def counted(name: str, label: Array, called: Array) -> tuple[Array, Array]:
    """The images that a score counts, and those of them that it counts as right, each (N,) bool.

    Their ratio is the score; of F1 it is the Jaccard index J, with F1 = 2 J / (1 + J).

    Args:
        name: one of `metrics.COUNT_SCORES`.
        label: (N,) int, 0 or 1.
        called: (N,) int or bool, 0 or 1.
    """
    if name == "accuracy":
        return np.ones(label.shape, dtype=bool), label == called
    score, _, class_name = name.partition("_")
    index = CLASS_NAMES.index(class_name.upper())
    true, said = label == index, called == index
    among = {"precision": said, "recall": true, "f1": true | said}[score]
    return among, true & said


def proportion(among: Array, right: Array) -> Linear:
    """The sum of `right` over the sum of `among`, (N,) bool or number each; NaN where that is 0."""
    among, right = among.astype(np.float64), right.astype(np.float64)
    total = among.sum()
    if not total:
        return Linear(float("nan"), np.zeros(among.shape))
    value = right.sum() / total
    return Linear(float(value), (right - value * among) / total)


def auroc(label: Array, score: Array) -> Linear:
    """The area under the ROC curve, ties counting half (DeLong et al., 1988); of both labels."""
    group, negative, positive = _by_score(label, score)
    below = negative.sum() - negative.cumsum() + negative / 2  # NORMAL images that one outranks
    above = positive.cumsum() - positive / 2  # PNEUMONIA images that outrank one
    value = (positive * below).sum() / (negative.sum() * positive.sum())
    won = np.where(label == 1, (below / negative.sum())[group], (above / positive.sum())[group])
    return Linear(
        float(value), (won - value) / np.where(label == 1, positive.sum(), negative.sum())
    )


def average_precision(label: Array, score: Array) -> Linear:
    """The mean precision over the steps of recall, not interpolated; both labels needed."""
    group, negative, positive = _by_score(label, score)
    total, hit = positive.sum(), positive.cumsum()
    called = hit + negative.cumsum()
    precision = hit / called
    value = (positive * precision).sum() / total

    def from_here(values: Array) -> Array:
        return np.asarray((positive * values)[::-1].cumsum()[::-1])

    sick = precision - value + from_here((called - hit) / called**2)
    well = -from_here(hit / called**2)
    return Linear(float(value), np.where(label == 1, sick[group], well[group]) / total)


RANKED = {"auroc": auroc, "average_precision": average_precision}


def _by_score(label: Array, score: Array) -> tuple[Array, Array, Array]:
    """Place of each image among the K distinct scores, highest first, and their images by label."""
    distinct, group = np.unique(-score, return_inverse=True)
    positive = np.bincount(group, label, minlength=distinct.size)
    return group, np.bincount(group, minlength=distinct.size) - positive, positive
