"""The scores of a classifier: each has one entry, with its title, its function and its interval.

PNEUMONIA is the positive class of AUROC, average precision and Matthews' correlation; precision,
recall and F1 carry their class in the name. What is undefined is NaN, never 0: every score but
accuracy of images without one of the labels that it needs, and precision if no image is predicted
as that class.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from pneumo.evaluation.metrics import Array, checked, confusion, mass_by_score, ratio
from pneumo.labels import CLASS_NAMES

STEP = 1e-4  # images, of the derivative with a count


@dataclass(frozen=True, eq=False)
class Sample:
    """N images and B weightings of them: how often each image counts."""

    label: Array  # (N,) int64, 0 or 1
    score: Array  # (N,) float64, higher for PNEUMONIA
    predicted: Array  # (N,) int64, 1 if predicted PNEUMONIA
    weight: Array  # (N, B)

    @cached_property
    def counts(self) -> Array:
        """(B, 2, 2) counts, rows true and columns predicted, NORMAL first."""
        return confusion(self.label, self.predicted, weight=self.weight)

    @cached_property
    def ranked(self) -> tuple[Array, Array]:
        """Weight of NORMAL and of PNEUMONIA at each distinct score, highest first, (K, B) each."""
        return mass_by_score(self.label, self.score, weight=self.weight)


class Share(NamedTuple):
    """A score that is the share of some cells of the confusion matrix, or F1, a function of one."""

    right: Array  # (2, 2) bool
    among: Array  # (2, 2) bool
    is_f1: bool = False  # 2 J / (1 + J), where J is the share


class Smooth(NamedTuple):
    """A score whose interval comes from its derivative with the weight of each image.

    The derivatives of all images sum to 0; the variance of the score over patients is that of their
    sums (the delta method, or infinitesimal jackknife).
    """

    change: Callable[[Sample], Array]  # (N,) derivatives, for weights of 1
    # independent images whose share would have its variance, of patients of PNEUMONIA and NORMAL
    images: Callable[[float, float], float]
    lowest: Callable[[Array], float] = lambda _: 0.0  # of these labels in the worst order
    # design effect expected, of patients of PNEUMONIA and NORMAL and the lowest score
    expected: Callable[[float, float, float], float] = lambda *_: 1.0


@dataclass(frozen=True)
class Score:
    """A score, with its title, direction and interval for tables and monitors."""

    name: str  # the key in metrics.json and history.csv
    title: str  # within a sentence
    compute: Callable[[Sample], Array] | None = None  # (B,); None: computed elsewhere
    interval: Share | Smooth | None = None
    higher_is_better: bool = True

    @property
    def heading(self) -> str:
        """The title with a capital letter, except mAP."""
        return self.title if self.title[1].isupper() else self.title[0].upper() + self.title[1:]


def scores(label: ArrayLike, probability: ArrayLike, *, threshold: float = 0.5) -> dict[str, float]:
    """Returns every score of `SCORES` of (N,) labels and (N,) probabilities of PNEUMONIA.

    At ``threshold`` or above an image is predicted as PNEUMONIA. ValueError: the shapes differ, or
    a label is neither 0 nor 1.
    """
    one_each = np.ones((np.size(label), 1))
    weighted = weighted_scores(label, probability, weight=one_each, threshold=threshold)
    return {name: float(value[0]) for name, value in weighted.items()}


def scores_at_half(label: Array, probability: Array) -> dict[str, Any]:
    """Returns the `scores` of (N,) float64 probabilities, and the confusion matrix at 0.5.

    In float32 the probabilities of confident images are all 1: ties that the network does not have.
    """
    counts = confusion(label, probability >= 0.5)
    return {**scores(label, probability), "confusion": counts.tolist()}


def weighted_scores(
    label: ArrayLike,
    probability: ArrayLike,
    *,
    weight: Array,
    threshold: float = 0.5,
    names: Sequence[str] = (),
) -> dict[str, Array]:
    """Returns scores for B weightings of the images at once: name to (B,) float64.

    ``weight``: (N, B), how often each image counts in each resample. ``names``: of `SCORES`; all if
    empty. Other arguments: see `scores`.
    """
    names = names or list(SCORES)
    label, probability = checked(label, probability)
    if not label.size or np.isnan(probability).any():  # an unknown probability: unknown scores
        return {name: np.full(weight.shape[1], np.nan) for name in names}
    sample = Sample(label, probability, (probability >= threshold).astype(np.int64), weight)
    return {name: compute(sample) for name in names if (compute := SCORES[name].compute)}


def operating_point(
    label: ArrayLike, probability: ArrayLike, *, threshold: float
) -> dict[str, float]:
    """Returns the threshold with its sensitivity, specificity, PPV and NPV, see `CLINICAL`."""
    values = scores(label, probability, threshold=threshold)
    return {"threshold": threshold} | {key: values[name] for key, name in CLINICAL.items()}


def auroc(label: ArrayLike, probability: ArrayLike) -> float:
    """Returns the chance that a PNEUMONIA image outranks a NORMAL one, ties counting half."""
    return scores(label, probability)["auroc"]


def lowest_average_precision(label: ArrayLike) -> float:
    """Returns the average precision of the worst order, in (0, 1); both labels must be present.

    Boyd et al., ICML 2012. With 90 % PNEUMONIA it is 0.74.
    """
    label = np.asarray(label)
    hit = np.arange(1, label.sum() + 1)
    return float((hit / (hit + (label == 0).sum())).mean())


def _share(sample: Sample, *, share: Share, label: int | None = None) -> Array:
    right, among = (sample.counts[:, cells].sum(1) for cells in (share.right, share.among))
    value = ratio(2 * right, right + among) if share.is_f1 else ratio(right, among)
    is_defined = True if label is None else sample.counts[:, label].sum(1) > 0
    return np.where(is_defined, value, np.nan)


def _auroc(sample: Sample) -> Array:
    negative, positive = sample.ranked
    above = positive.cumsum(0) - positive / 2
    return ratio(np.einsum("kb,kb->b", negative, above), positive.sum(0) * negative.sum(0))


def _auroc_change(sample: Sample) -> Array:
    """DeLong et al. (1988): the share of the other label on the right side of each image."""
    negative, positive = (mass[:, 0] for mass in sample.ranked)
    below = (negative.sum() - negative.cumsum() + negative / 2) / negative.sum()
    above = (positive.cumsum() - positive / 2) / positive.sum()
    value = (positive * below).sum() / positive.sum()
    place, sick = np.unique(-sample.score, return_inverse=True)[1], sample.label == 1
    won = np.where(sick, below[place], above[place])
    return np.asarray((won - value) / np.where(sick, positive.sum(), negative.sum()))


def _mean_precision(sample: Sample) -> Array:
    """Returns the mean precision over the steps of recall, not interpolated."""
    negative, positive = sample.ranked
    hit = positive.cumsum(0)
    predicted = hit + negative.cumsum(0)
    precision = np.divide(hit, predicted, out=np.zeros_like(hit), where=predicted > 0)
    value = ratio(np.einsum("kb,kb->b", positive, precision), positive.sum(0))
    return np.where(negative.sum(0) > 0, value, np.nan)


def _mean_precision_change(sample: Sample) -> Array:
    negative, positive = (mass[:, 0] for mass in sample.ranked)
    hit = positive.cumsum()
    predicted = hit + negative.cumsum()

    def from_here(values: Array) -> Array:
        return np.asarray((positive * values)[::-1].cumsum()[::-1])

    sick = hit / predicted - _mean_precision(sample) + from_here((predicted - hit) / predicted**2)
    well = -from_here(hit / predicted**2)
    place = np.unique(-sample.score, return_inverse=True)[1]
    return np.asarray(np.where(sample.label == 1, sick[place], well[place]) / hit[-1])


def _balanced_accuracy(counts: Array) -> Array:
    """Returns the mean of both classes' recall, of (..., 2, 2) counts."""
    recall = ratio(np.diagonal(counts, axis1=-2, axis2=-1), counts.sum(-1))
    return np.asarray(recall.mean(-1))


def _mcc(counts: Array) -> Array:
    """Returns Matthews' correlation (1975) of (..., 2, 2) counts; 0 for equal predictions."""
    true, predicted = counts.sum(-1), counts.sum(-2)
    covariance = counts[..., 0, 0] * counts[..., 1, 1] - counts[..., 0, 1] * counts[..., 1, 0]
    product = predicted.prod(-1)
    value = ratio(covariance, np.sqrt(np.maximum(true.prod(-1) * product, 0)))
    value = np.where(product == 0, 0.0, value)
    return np.where((true > 0).all(-1), value, np.nan)


def _of_counts(name: str, title: str, function: Callable[[Array], Array], lowest: float) -> Score:
    """Returns a score that is a smooth function of the confusion matrix.

    Errors cost it as much as those of a share of 4 / (1 / sick + 1 / well) images: the mean of two
    recalls has that variance, and near 1 an error moves Matthews' correlation by 2 of that share.
    """

    def change(sample: Sample) -> Array:
        steps = STEP * np.eye(4).reshape(4, 2, 2)
        up, down = (function(sample.counts[0] + side * steps) for side in (1, -1))
        gradient = (up - down) / (2 * STEP)
        if np.isnan(gradient).any():  # the score jumps here
            gradient[:] = np.nan
        return np.asarray(gradient.reshape(2, 2)[sample.label, sample.predicted])

    by_patients = Smooth(change, lambda sick, well: 4 / (1 / sick + 1 / well), lambda _: lowest)
    return Score(name, title, lambda sample: function(sample.counts), by_patients)


def _of_class(label: int, class_name: str) -> list[Score]:
    cells = np.indices((2, 2)) == label  # rows: true, columns: predicted
    hit = cells[0] & cells[1]
    shares = {
        "precision": Share(hit, cells[1]),
        "recall": Share(hit, cells[0]),
        "f1": Share(hit, cells[0] | cells[1], is_f1=True),
    }
    return [
        Score(
            f"{key}_{class_name.lower()}",
            f"{'F1' if key == 'f1' else key} of {class_name}",
            partial(_share, share=share, label=label),
            share,
        )
        for key, share in shares.items()
    ]


_ACCURACY = Share(np.eye(2, dtype=bool), np.ones((2, 2), dtype=bool))
# of that many patients Hanley and McNeil's variance (1982) of an area near 1 would be twice that of
# a proportion; those of normal scores are about half as large as theirs
AREA = Smooth(_auroc_change, lambda sick, well: 8 * sick * well / (sick + well + 2))
_PRECISION = Smooth(
    _mean_precision_change,
    AREA.images,
    lowest_average_precision,
    # a pair in the wrong order costs it well / sick of what it costs the area, if that is less
    lambda sick, well, lowest: min(well / sick / (1 - lowest), 1.0),
)
SCORES = {  # of every split, at every epoch
    score.name: score
    for score in (
        Score("accuracy", "accuracy", partial(_share, share=_ACCURACY), _ACCURACY),
        *(score for number, name in enumerate(CLASS_NAMES) for score in _of_class(number, name)),
        _of_counts("balanced_accuracy", "balanced accuracy", _balanced_accuracy, 0),
        _of_counts("mcc", "Matthews' correlation", _mcc, -1),
        Score("auroc", "AUROC", _auroc, AREA),
        Score("average_precision", "average precision", _mean_precision, _PRECISION),
    )
}
LOSS = Score("loss", "loss", higher_is_better=False)
BOX_SCORES = {  # of detectors
    score.name: score
    for score in (
        Score("challenge", "challenge score"),
        Score("map_50", "mAP at IoU 0.50"),
        Score("map", "mAP at IoU 0.50 to 0.95"),
        Score("f1", "F1 at IoU 0.4"),
        Score("precision", "precision at IoU 0.4"),
        Score("recall", "recall at IoU 0.4"),
        Score("auroc", "AUROC of images"),
    )
}
MONITORED = SCORES | {name: BOX_SCORES[name] for name in ("challenge", "map")} | {"loss": LOSS}
CLINICAL = {  # other names of scores; PNEUMONIA is positive
    "sensitivity": "recall_pneumonia",
    "specificity": "recall_normal",
    "ppv": "precision_pneumonia",
    "npv": "precision_normal",
}
