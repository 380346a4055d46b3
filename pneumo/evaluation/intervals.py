"""Intervals of scores within a run: over patients, since images of one patient are alike."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit  # Student's t; scipy.stats loads far slower

from pneumo.evaluation.metrics import Array, checked
from pneumo.evaluation.scores import AREA, SCORES, Sample, Smooth, scores, weighted_scores

CHUNK = 250_000  # images x resamples in one go: about 1 MB of float32, which stays in the cache
LEVEL = 0.95
# in metrics.json; another name if it changes, so that kept runs are assessed again
METHOD = "clustered Wilson, errors by patient"
# Assumptions for few errors, chosen by the simulation in docs/notes/intervals.md:
CORRELATION = 0.3  # of two images of one patient, in being right or wrong
PRIOR_ERRORS = 2.0  # the expected design effect weighs as much as so many errors
MIN_PATIENTS = 20  # effective ones of a class; with fewer, many samples have no error


class Interval(NamedTuple):
    """A range from low to high, in the unit of the score."""

    low: float
    high: float


UNKNOWN = Interval(float("nan"), float("nan"))


def score_intervals(
    label: ArrayLike,  # (N,) int, 0 NORMAL, 1 PNEUMONIA
    score: ArrayLike,  # (N,) float: a probability of PNEUMONIA, or anything that ranks as it does
    *,
    patient: ArrayLike,  # (N,) of any type, who each image is of
    threshold: float = 0.5,  # at this score or above an image is predicted as PNEUMONIA
    names: Sequence[str] = tuple(SCORES),
) -> dict[str, Interval]:
    """Returns the interval of each score, where patients and not images are independent.

    A Wilson interval on as many independent images as would give the score's variance over
    patients, see `_wilson`: it always has a width and lies in the score's range. Chosen by the
    simulation in docs/notes/intervals.md. Both ends are NaN if the score is undefined.
    """
    label, score = checked(label, score)
    if np.isnan(score).any():  # an unknown probability: unknown scores
        return dict.fromkeys(names, UNKNOWN)
    who = _numbers(patient)
    predicted = (score >= threshold).astype(np.int64)
    sample = Sample(label, score, predicted, np.ones((label.size, 1)))
    value = scores(label, score, threshold=threshold)
    ends = {}
    for name in names:
        kind = SCORES[name].interval
        if isinstance(kind, Smooth):
            ends[name] = _of_smooth(kind, value[name], sample, who)
        elif kind is None or np.isnan(value[name]):
            ends[name] = UNKNOWN
        else:
            right, among = (cells[label, predicted] for cells in (kind.right, kind.among))
            share = share_interval(right, among, patient=who)
            ends[name] = f1_of_jaccard(share) if kind.is_f1 else share
    return ends


def auroc_interval(
    label: ArrayLike, score: ArrayLike, *, patient: ArrayLike, times: float = 1.0
) -> Interval:
    """Returns the interval of the AUROC, of ``times`` as many such patients; NaN of one label."""
    label, score = checked(label, score)
    sample = Sample(label, score, label, np.ones((label.size, 1)))
    return _of_smooth(AREA, scores(label, score)["auroc"], sample, _numbers(patient), times)


def with_intervals(
    label: ArrayLike,
    score: ArrayLike,
    *,
    patient: ArrayLike,
    threshold: float = 0.5,
    names: Mapping[str, str],
) -> dict[str, dict[str, float]]:
    """Returns value, low and high of some scores; arguments: see `score_intervals`.

    ``names``: of `SCORES`, by their keys in the result, such as sensitivity: recall_pneumonia.
    """
    value = scores(label, score, threshold=threshold)
    options: dict[str, Any] = {"patient": patient, "threshold": threshold}
    interval = score_intervals(label, score, **options, names=tuple(names.values()))
    return {key: {"value": value[n], **interval[n]._asdict()} for key, n in names.items()}


def share_interval(
    part: ArrayLike, whole: ArrayLike | None = None, *, patient: ArrayLike, least: float = 1.0
) -> Interval:
    """Returns the interval, over patients, of the sum of ``part`` over the sum of ``whole``.

    Both are (N,), of each image: a part from 0 to its whole (bool, or a count such as that of boxes
    hit), a whole of 0 or more, 1 if missing. NaN if the sum of the wholes is 0. ``least``: design
    effect; 1 for a share of things that hold or do not.
    """
    part = np.asarray(part, dtype=np.float64)
    whole = np.ones(part.shape) if whole is None else np.asarray(whole, dtype=np.float64)
    who = _numbers(patient)
    size = np.bincount(who, whole)
    if not size.any():
        return UNKNOWN
    number, patients = float(size.sum()), effective(size)
    expected = 1 + CORRELATION * ((size**2).sum() / number - 1)
    return _wilson(
        *proportion(whole, part),
        who,
        patients=patients,
        images=number,
        expected=max(expected, least),
        least=least,
        # if few patients have most of the images, many errors are those of few patients
        prior=PRIOR_ERRORS * float(np.count_nonzero(size)) / patients,
    )


def proportion(among: Array, right: Array) -> tuple[float, Array]:
    """Returns the sum of ``right`` over that of ``among``, (N,) each, and its (N,) derivatives.

    They are those with the weight of each image, and sum to 0.
    """
    among, right = among.astype(np.float64), right.astype(np.float64)
    value = right.sum() / among.sum()
    return float(value), (right - value * among) / among.sum()


def effective(size: Array) -> float:
    """Returns how many patients with equally many images would be as informative; 0 without any.

    Kish (1965); ``size``: (P,) images of each patient.
    """
    squares = float((size**2).sum())
    return float(size.sum()) ** 2 / squares if squares else 0.0


def few_patients(label: ArrayLike, *, patient: ArrayLike) -> bool:
    """Returns whether a class has so few patients that intervals rest on assumption."""
    label, who = np.asarray(label), _numbers(patient)
    return any(effective(np.bincount(who[label == index])) < MIN_PATIENTS for index in (0, 1))


def warning(names: Sequence[str]) -> str | None:
    """Returns the caveat on intervals of these groups of images, with few patients of a class."""
    if not names:
        return None
    return (
        f"fewer than {MIN_PATIENTS} patients of a class among {', '.join(names)}, or a few with "
        "most of its images: these intervals rest more on the assumed similarity of a patient's "
        "images than on the images"
    )


def f1_of_jaccard(jaccard: Interval) -> Interval:
    """Returns the interval of F1 = 2 J / (1 + J); J is the share of hits among hits and errors."""
    return Interval(*(2 * end / (1 + end) for end in jaccard))


def _numbers(patient: ArrayLike) -> Array:
    """Returns (N,) int64, a number for each patient, of names of any type."""
    return np.unique(np.asarray(patient), return_inverse=True)[1]


def _of_smooth(
    kind: Smooth, value: float, sample: Sample, who: Array, times: float = 1.0
) -> Interval:
    sick, well = (times * effective(np.bincount(who[sample.label == index])) for index in (1, 0))
    if not (sick and well):
        return UNKNOWN
    change, lowest = kind.change(sample), kind.lowest(sample.label)
    if np.isnan(change).any():  # no derivative if all predictions are equal
        return UNKNOWN
    ends = _wilson(
        (value - lowest) / (1 - lowest),
        change / (1 - lowest) / np.sqrt(times),
        who,
        patients=min(sick, well),
        images=kind.images(sick, well),
        expected=kind.expected(sick, well, lowest),
        least=0,
        prior=PRIOR_ERRORS,
    )
    return Interval(*(lowest + (1 - lowest) * end for end in ends))


def _wilson(
    value: float,  # of the score, in [0, 1]
    change: Array,  # (N,) its derivative with the weight of each image
    who: Array,  # (N,) int, the patient of each
    *,
    patients: float,  # effective ones; Student's t has one degree of freedom less
    images: float,  # of which the design effect is taken
    expected: float,  # design effect
    least: float,  # design effect
    prior: float,  # errors that the expected design effect weighs
) -> Interval:
    """Returns Wilson's interval (1927) of a share, with Korn & Graubard's sample size (1998).

    The design effect, by how much the variance over patients exceeds that of independent images,
    is estimated from few errors, so it leans on the expected one as if ``prior`` errors more had
    shown that. Without any error it is the expected one, so that the interval still has a width.
    """
    share = min(max(value, 0.0), 1.0)
    moved = np.bincount(who, change)
    variance = (moved**2).sum() * max(patients, 2) / (max(patients, 2) - 1)
    seen, errors = variance * images**2 / max(share, 1 - share), images * min(share, 1 - share)
    effect = max((seen + prior * expected) / (errors + prior), least)
    number = images / effect
    t = float(stdtrit(max(patients - 1, 1), (1 + LEVEL) / 2))
    middle = share + t**2 / (2 * number)
    half = t * np.sqrt(share * (1 - share) / number + t**2 / (4 * number**2))
    low, high = ((middle + side) / (1 + t**2 / number) for side in (-half, half))
    return Interval(float(min(max(low, 0.0), share)), float(max(min(high, 1.0), share)))


def resampled_scores(
    label: ArrayLike,
    probability: ArrayLike,
    *,
    patient: ArrayLike,
    threshold: float = 0.5,
    names: Sequence[str] = tuple(SCORES),
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Array]:
    """Returns (resamples,) of each score, one for each draw of the patients with replacement.

    The same seed and number of patients give the same draws: for two models on the same images in
    the same order, the difference is a paired bootstrap. Undefined scores (a draw without one of
    the classes) are NaN. Arguments: see `score_intervals`; average precision takes the longest.
    """
    step = max(1, CHUNK // max(1, np.size(label)))
    weight = patient_weights(patient, resamples=resamples, seed=seed)
    options: dict[str, Any] = {"threshold": threshold, "names": names}
    parts = [
        weighted_scores(label, probability, weight=weight[:, at : at + step], **options)
        for at in range(0, resamples, step)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in names}


def patient_weights(patient: ArrayLike, *, resamples: int = 1000, seed: int = 0) -> Array:
    """Returns (N, resamples) float32: how often the patient of each image is drawn."""
    who = _numbers(patient)
    weight: Array = _draws(int(who.max(initial=-1)) + 1, resamples, seed)[who]
    return weight


@lru_cache(maxsize=4)
def _draws(num_patients: int, resamples: int, seed: int) -> Array:
    """Returns (patients, resamples) float32 multinomial counts; columns add to num_patients."""
    drawn = np.random.default_rng(seed).integers(num_patients, size=(resamples, num_patients))
    cell = drawn + num_patients * np.arange(resamples)[:, None]
    counts = np.bincount(cell.ravel(), minlength=num_patients * resamples)
    return np.ascontiguousarray(counts.astype(np.float32).reshape(resamples, num_patients).T)


def percentile_interval(values: Array) -> Interval:
    """Returns the central share `LEVEL` of the finite values of (B,); NaN without any."""
    finite = values[np.isfinite(values)]
    ends = (1 - LEVEL) / 2, (1 + LEVEL) / 2
    return Interval(*np.quantile(finite, ends).tolist()) if finite.size else UNKNOWN


def difference_interval(first: Array, second: Array) -> Interval:
    """Returns the paired bootstrap's 95 % interval of two models' scores (B,), same resamples.

    NaN if no resample differs from another: without variance there is no interval.
    """
    interval = percentile_interval(first - second)
    return interval if interval.low < interval.high else UNKNOWN
