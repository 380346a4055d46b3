"""How sure a number is: intervals over patients within a run, paired comparison over runs."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtr, stdtrit  # Student's t; scipy.stats loads far slower

from pneumo.evaluation.influence import RANKED, Linear, counted, proportion
from pneumo.evaluation.metrics import (
    SCORES,
    Array,
    checked,
    lowest_average_precision,
    weighted_scores,
)
from pneumo.labels import CLASS_NAMES

CHUNK = 250_000  # images x resamples in one go: about 1 MB of float32, which stays in the cache
LEVEL = 0.95
# of the intervals that metrics.json keeps; name another if it changes
METHOD = "clustered Wilson, effective patients"
# Of what a few errors cannot tell, chosen by the simulation in docs/intervals.md:
CORRELATION = 0.3  # of two images of one patient, in being right or wrong
PRIOR_ERRORS = 2.0  # the expected design effect weighs as much as so many errors
MIN_PATIENTS = 20  # effective ones of a class; with fewer, many samples have no error


class Interval(NamedTuple):
    """A range from low to high, in the unit of the score."""

    low: float
    high: float


UNKNOWN = Interval(float("nan"), float("nan"))


def score_intervals(
    label: ArrayLike,
    score: ArrayLike,
    *,
    patient: ArrayLike,
    threshold: float = 0.5,
    names: Sequence[str] = SCORES,
    level: float = LEVEL,
) -> dict[str, Interval]:
    """Interval of every score of `metrics.SCORES`, patients and not images being independent.

    A Wilson interval on as many independent images as would give the score's variance over
    patients, see `_wilson`: never of no width, within [0, 1]. docs/intervals.md has the simulation
    that chose it, with what it covers. Both ends are NaN where the score is undefined.

    Args:
        label: (N,) int, 0 NORMAL, 1 PNEUMONIA.
        score: (N,) float, higher for PNEUMONIA: a probability, or anything that ranks as it does.
        patient: (N,) of any type, who each image is of.
        threshold: PNEUMONIA is called at this score or above.
        names: which of `metrics.SCORES`.
        level: of the interval, in (0, 1).
    """
    label, score = checked(label, score)
    _, who = np.unique(np.asarray(patient), return_inverse=True)
    if np.isnan(score).any():  # an unknown probability leaves every score unknown
        return dict.fromkeys(names, UNKNOWN)
    called = (score >= threshold).astype(np.int64)
    return {
        name: _of_ranking(name, label, score, who, level)
        if name in RANKED
        else _of_decisions(name, label, called, who, level)
        for name in names
    }


def share_interval(
    part: ArrayLike,
    whole: ArrayLike | None = None,
    *,
    patient: ArrayLike,
    least: float = 1.0,
    level: float = LEVEL,
) -> Interval:
    """Interval, over patients, of the sum of ``part`` over the sum of ``whole``; NaN without any.

    Args:
        part: (N,) of each image, from 0 to its whole: bool, or a count such as that of boxes hit.
        whole: (N,) of each image, 0 or more; 1 each if not given.
        patient: (N,) of any type, who each image is of.
        least: design effect; 1 for a share of things that hold or do not.
        level: of the interval, in (0, 1).
    """
    part = np.asarray(part, dtype=np.float64)
    whole = np.ones(part.shape) if whole is None else np.asarray(whole, dtype=np.float64)
    _, who = np.unique(np.asarray(patient), return_inverse=True)
    size = np.bincount(who, whole)
    if not size.any():
        return UNKNOWN
    number = float(size.sum())
    expected = 1 + CORRELATION * ((size**2).sum() / number - 1)
    return _wilson(
        proportion(whole, part),
        who,
        patients=effective(size),
        images=number,
        expected=max(expected, least),
        least=least,
        level=level,
    )


def effective(size: Array) -> float:
    """How many patients of like size tell as much as these (Kish, 1965); 0 without any.

    Args:
        size: (P,) images of each patient.
    """
    squares = float((size**2).sum())
    return float(size.sum()) ** 2 / squares if squares else 0.0


def few_patients(label: ArrayLike, *, patient: ArrayLike) -> bool:
    """Whether a class has so few patients that intervals rest on assumption, as `warning` says."""
    label, (_, who) = np.asarray(label), np.unique(np.asarray(patient), return_inverse=True)
    return any(effective(np.bincount(who[label == index])) < MIN_PATIENTS for index in (0, 1))


def warning(names: Sequence[str]) -> str | None:
    """The one sentence on intervals of the images so named, with few patients of a class."""
    if not names:
        return None
    return (
        f"fewer than {MIN_PATIENTS} patients of a class among {', '.join(names)}, or a few with "
        "most of its images: these intervals rest more on how alike a patient's images are taken "
        "to be than on the images"
    )


def has_intervals(assessment: Any) -> bool:
    """Whether an assessment's intervals are of today's method; earlier ones are not to be shown."""
    about = assessment.get("interval") if isinstance(assessment, Mapping) else None
    return isinstance(about, Mapping) and about.get("method") == METHOD


def _of_decisions(name: str, label: Array, called: Array, who: Array, level: float) -> Interval:
    class_name = name.partition("_")[2].upper()
    if class_name and not (label == CLASS_NAMES.index(class_name)).any():
        return UNKNOWN
    among, right = counted(name, label, called)
    found = share_interval(right, among, patient=who, level=level)
    return f1_of_jaccard(found) if name.startswith("f1") else found


def f1_of_jaccard(jaccard: Interval) -> Interval:
    """The interval of F1 = 2 J / (1 + J), J the share of hits among hits, misses and false ones."""
    return Interval(*(2 * end / (1 + end) for end in jaccard))


def _of_ranking(name: str, label: Array, score: Array, who: Array, level: float) -> Interval:
    sick, well = (effective(np.bincount(who[label == index])) for index in (1, 0))
    if not (sick and well):
        return UNKNOWN
    found, lowest, expected = RANKED[name](label, score), 0.0, 1.0
    if name == "average_precision":
        lowest = lowest_average_precision(label)
        # a pair in the wrong order costs it well / sick of what it costs the area, if that is less
        expected = min(well / sick / (1 - lowest), 1.0)
    # of that many patients Hanley and McNeil's variance (1982) of an area near 1 would be twice
    # that of a proportion; those of normal scores are about half as large as theirs
    images = 8 * sick * well / (sick + well + 2)
    ends = _wilson(
        Linear((found.value - lowest) / (1 - lowest), found.change / (1 - lowest)),
        who,
        patients=min(sick, well),
        images=images,
        expected=expected,
        least=0,
        level=level,
    )
    return Interval(*(lowest + (1 - lowest) * end for end in ends))


def _wilson(
    found: Linear,
    who: Array,
    *,
    patients: float,
    images: float,
    expected: float,
    least: float,
    level: float,
) -> Interval:
    """Wilson's interval (1927) of a share, with Korn & Graubard's effective sample size (1998).

    The design effect, by how much the variance over patients exceeds that of independent images,
    is estimated from few errors: it leans on the expected one as if `PRIOR_ERRORS` errors more had
    shown that. Without any error it is the expected one, so that the interval still has a width.

    Args:
        found: the score and its derivative with the weight of each image.
        who: (N,) int, the patient of each.
        patients: effective ones; Student's t has one degree of freedom less.
        images: of which the design effect is taken.
        expected: design effect.
        least: design effect.
        level: of the interval.
    """
    share = min(max(found.value, 0.0), 1.0)
    moved = np.bincount(who, found.change)
    variance = (moved**2).sum() * max(patients, 2) / (max(patients, 2) - 1)
    seen, errors = variance * images**2 / max(share, 1 - share), images * min(share, 1 - share)
    effect = max((seen + PRIOR_ERRORS * expected) / (errors + PRIOR_ERRORS), least)
    number = images / effect
    t = float(stdtrit(max(patients - 1, 1), (1 + level) / 2))
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
    names: Sequence[str] = SCORES,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Array]:
    """Returns (resamples,) of each score, one for each time that the patients are drawn.

    Images of one patient are alike, so patients are drawn, not images. The same seed and number of
    patients give the same resamples: of two models on the same images in the same order, their
    difference is a paired bootstrap. Undefined scores (a class drawn by no one) are NaN.

    Args:
        label: (N,) int, 0 NORMAL, 1 PNEUMONIA.
        probability: (N,) float in [0, 1], of PNEUMONIA.
        patient: (N,) of any type, who each image is of.
        threshold: PNEUMONIA is called at this probability or above.
        names: which of `metrics.SCORES`; average precision takes the longest.
        resamples: how many times the patients are drawn with replacement.
        seed: of the draws.
    """
    label, probability = np.asarray(label), np.asarray(probability)
    step = max(1, CHUNK // max(1, label.size))
    weight = patient_weights(patient, resamples=resamples, seed=seed)
    parts = [
        weighted_scores(
            label, probability, weight=weight(at, at + step), threshold=threshold, names=names
        )
        for at in range(0, resamples, step)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in names}


class PatientWeights:
    """Bootstrap weights of images, made a slice of resamples at a time."""

    def __init__(self, draws: Array, code: Array) -> None:
        self._draws, self._code = draws, code

    def __call__(self, start: int, stop: int) -> Array:
        """(N, stop - start) float32: how often each image counts in those resamples."""
        return np.ascontiguousarray(self._draws[:, start:stop])[self._code]


def patient_weights(patient: ArrayLike, *, resamples: int = 1000, seed: int = 0) -> PatientWeights:
    """For each image, how often its patient is drawn in each resample."""
    values, code = np.unique(np.asarray(patient), return_inverse=True)
    return PatientWeights(_draws(values.size, resamples, seed), code)


@lru_cache(maxsize=4)
def _draws(num_patients: int, resamples: int, seed: int) -> Array:
    """(patients, resamples) float32: multinomial counts, each column adding to num_patients."""
    drawn = np.random.default_rng(seed).integers(num_patients, size=(resamples, num_patients))
    cell = drawn + num_patients * np.arange(resamples)[:, None]
    counts = np.bincount(cell.ravel(), minlength=num_patients * resamples)
    return np.ascontiguousarray(counts.astype(np.float32).reshape(resamples, num_patients).T)


def percentile_interval(values: Array, *, level: float = 0.95) -> Interval:
    """The central share `level` of the finite values of (B,); NaN when there are none."""
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        return Interval(float("nan"), float("nan"))
    low, high = np.quantile(finite, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def difference_interval(first: Array, second: Array) -> Interval:
    """The paired bootstrap's 95 % interval of two models' scores (B,) on the same resamples.

    NaN where no resample differs from another: what has no variance has no interval.
    """
    found = percentile_interval(first - second)
    return found if found.low < found.high else UNKNOWN


FEWEST_PAIRS = 3  # of two the spread has one degree of freedom, and rests on a single difference
_ROUNDING = 1e-6  # of the difference of two scores that were kept as float32, in [0, 1]


class Comparison(NamedTuple):
    """A paired comparison: the mean difference, its interval, two-sided p, degrees of freedom."""

    difference: float
    low: float
    high: float
    p: float
    df: int


def corrected_t_test(
    differences: ArrayLike, *, test_to_train: float, level: float = 0.95
) -> Comparison:
    """Nadeau & Bengio's corrected resampled t-test of paired differences over random splits.

    Splits drawn again and again from one set overlap, so their differences are not independent and
    the plain paired t-test is far too sure. The variance of the mean is taken as
    (1/J + test/train) s^2 instead of s^2/J (Machine Learning 52 (2003) 239, section 3.5). With one
    fixed split there is no such overlap: give 0, and the interval then speaks of that split only.

    Args:
        differences: (J,) score of one network minus that of the other on the same split; NaN pairs
            are left out.
        test_to_train: images in the test split over images in the train split.
        level: of the interval, in (0, 1).

    Returns:
        NaN ends and p where the spread cannot be estimated: with fewer than `FEWEST_PAIRS`, or
        where all differences are the same number, 0 too, up to the rounding of float32, in which
        scores are kept. Accuracies on a test split are counts, so differences are easily equal by
        chance, and their variance of 0 would prove anything.

    Raises:
        ValueError: if test_to_train is negative or not a number.
    """
    if not test_to_train >= 0:
        raise ValueError(f"test_to_train must be 0 or more; got {test_to_train}; 0.3 / 0.7 is 0.43")
    pairs = np.asarray(differences, dtype=np.float64)
    pairs = pairs[np.isfinite(pairs)]
    nan, df = float("nan"), max(pairs.size - 1, 0)
    mean = float(pairs.mean()) if pairs.size else nan
    if pairs.size < FEWEST_PAIRS or np.ptp(pairs) < _ROUNDING:
        return Comparison(mean, nan, nan, nan, df)
    error = float(np.sqrt((1 / pairs.size + test_to_train) * pairs.var(ddof=1)))
    half = float(stdtrit(df, (1 + level) / 2)) * error
    p = float(2 * stdtr(df, -abs(mean) / error))
    return Comparison(mean, mean - half, mean + half, p, df)


def holm(p: ArrayLike) -> Array:
    """The p values (K,) adjusted for K comparisons (Holm, 1979), in [0, 1].

    A NaN is a comparison that could not be made: it stays NaN and is not counted.
    """
    raw = np.asarray(p, dtype=np.float64)
    made = np.flatnonzero(np.isfinite(raw))
    order = made[np.argsort(raw[made], kind="stable")]
    adjusted = np.full(raw.shape, np.nan)
    steps = raw[order] * np.arange(order.size, 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted
