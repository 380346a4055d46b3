"""How sure a number is: bootstrap over patients within a run, paired comparison over runs."""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtr, stdtrit  # Student's t; scipy.stats loads far slower

from pneumo.metrics import SCORES, Array, weighted_scores

CHUNK = 250_000  # images x resamples in one go: about 1 MB of float32, which stays in the cache


class Interval(NamedTuple):
    """A range from low to high, in the unit of the score."""

    low: float
    high: float


def bootstrap(
    label: ArrayLike,
    probability: ArrayLike,
    *,
    patient: ArrayLike,
    threshold: float = 0.5,
    names: Sequence[str] = SCORES,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Interval]:
    """Percentile interval of every score of `metrics.SCORES`, resampling patients, not images.

    Images of one patient are alike, so resampling images would make the intervals too narrow.
    The same seed and number of patients give the same resamples. A score that is undefined in a
    resample (a class drawn by no one) is left out of that score's percentiles; if it is undefined
    in all of them, both ends are NaN.

    Args:
        label: (N,) int, 0 NORMAL, 1 PNEUMONIA.
        probability: (N,) float in [0, 1], of PNEUMONIA.
        patient: (N,) of any type, who each image is of.
        threshold: PNEUMONIA is called at this probability or above.
        names: which of `metrics.SCORES`; average precision takes the longest.
        resamples: how many times the patients are drawn with replacement.
        level: the share of resamples between low and high, in (0, 1).
        seed: of the draws.
    """
    values = resampled_scores(
        label,
        probability,
        patient=patient,
        threshold=threshold,
        names=names,
        resamples=resamples,
        seed=seed,
    )
    return {name: percentile_interval(value, level=level) for name, value in values.items()}


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

    Arguments as in `bootstrap`. Of two models on the same images in the same order the resamples
    are the same, so that their difference is a paired bootstrap.
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
        test_to_train: images in the test part over images in the train part.
        level: of the interval, in (0, 1).

    Returns:
        NaN ends and p with fewer than two pairs; p is 1 if all differences are 0, and 0 if they are
        all the same other number.

    Raises:
        ValueError: if test_to_train is negative or not a number.
    """
    if not test_to_train >= 0:
        raise ValueError(f"test_to_train must be 0 or more; got {test_to_train}; 0.3 / 0.7 is 0.43")
    pairs = np.asarray(differences, dtype=np.float64)
    pairs = pairs[np.isfinite(pairs)]
    nan, df = float("nan"), pairs.size - 1
    if df < 1:
        return Comparison(float(pairs[0]) if pairs.size else nan, nan, nan, nan, max(df, 0))
    mean = float(pairs.mean())
    error = float(np.sqrt((1 / pairs.size + test_to_train) * pairs.var(ddof=1)))
    half = float(stdtrit(df, (1 + level) / 2)) * error
    p = float(2 * stdtr(df, -abs(mean) / error)) if error > 0 else float(mean == 0)
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
