"""Differences between models: on the same images, over patients; over the random splits of runs."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtr, stdtrit  # Student's t; scipy.stats loads far slower

from pneumo.evaluation.intervals import LEVEL, difference_interval, resampled_scores
from pneumo.evaluation.metrics import Array
from pneumo.evaluation.scores import CLINICAL, scores

DIFFERENCES = {"auroc": "auroc"} | {name: CLINICAL[name] for name in ("sensitivity", "specificity")}
FEWEST_PAIRS = 3  # the spread of two has one degree of freedom, and rests on a single difference
_ROUNDING = 1e-6  # of the difference of two scores in [0, 1] that were stored as float32


class Comparison(NamedTuple):
    """A paired comparison: the mean difference, its interval, two-sided p, degrees of freedom."""

    difference: float
    low: float
    high: float
    p: float
    df: int


def differences(
    label: ArrayLike, probability: Array, *, patient: ArrayLike, thresholds: Sequence[float]
) -> list[dict[str, Any]]:
    """Returns the first of M models' scores minus each other one's: value, low and high of each.

    The interval is a paired bootstrap (2.5 % and 97.5 % quantiles) over 1,000 draws of patients,
    the same for every model, so that images that are hard for both do not widen it; NaN if both
    decide alike on every image of a class. ``called_differently`` counts the images that they
    decide on differently. ``probability``: (M, N); ``thresholds``: the models' operating points.
    """
    predicted = probability >= np.asarray(thresholds)[:, None]
    values, draws = [], []
    for p, threshold in zip(probability, thresholds, strict=True):
        at: dict[str, Any] = {"threshold": threshold}
        names = tuple(DIFFERENCES.values())
        values.append(scores(label, p, **at))
        draws.append(resampled_scores(label, p, patient=patient, names=names, **at))
    rows = []
    for other in range(1, len(values)):
        row: dict[str, Any] = {}
        for name, score in DIFFERENCES.items():
            ends = difference_interval(draws[0][score], draws[other][score])
            row[name] = {"value": values[0][score] - values[other][score], **ends._asdict()}
        rows.append(row | {"called_differently": int((predicted[0] != predicted[other]).sum())})
    return rows


def corrected_t_test(differences: ArrayLike, *, test_to_train: float) -> Comparison:
    """Returns Nadeau & Bengio's corrected resampled t-test of paired differences over splits.

    Random splits of one set overlap, so their differences are not independent and the plain paired
    t-test is overconfident. The variance of the mean is (1/J + test/train) s^2 instead of s^2/J
    (Machine Learning 52 (2003) 239, section 3.5). With one fixed split there is no such overlap:
    give 0; the interval then holds for that split only.

    Ends and p are NaN if the spread cannot be estimated: with fewer than `FEWEST_PAIRS`, or if all
    differences are the same number, up to the rounding of float32. Accuracies are counts, so
    differences are easily equal by chance, and a variance of 0 would prove anything.

    Args:
        differences: (J,) score of one network minus that of the other on the same split; NaN pairs
            are left out.
        test_to_train: images in the test split over images in the train split, 0 or more.
    """
    pairs = np.asarray(differences, dtype=np.float64)
    pairs = pairs[np.isfinite(pairs)]
    nan, df = float("nan"), max(pairs.size - 1, 0)
    mean = float(pairs.mean()) if pairs.size else nan
    if pairs.size < FEWEST_PAIRS or np.ptp(pairs) < _ROUNDING:
        return Comparison(mean, nan, nan, nan, df)
    error = float(np.sqrt((1 / pairs.size + test_to_train) * pairs.var(ddof=1)))
    half = float(stdtrit(df, (1 + LEVEL) / 2)) * error
    p = float(2 * stdtr(df, -abs(mean) / error))
    return Comparison(mean, mean - half, mean + half, p, df)


def holm(p: ArrayLike) -> Array:
    """Returns the p values (K,) adjusted for K comparisons (Holm, 1979), in [0, 1].

    A comparison without a p (NaN) stays NaN and is not counted.
    """
    raw = np.asarray(p, dtype=np.float64)
    tested = np.flatnonzero(np.isfinite(raw))
    order = tested[np.argsort(raw[tested], kind="stable")]
    adjusted = np.full(raw.shape, np.nan)
    steps = raw[order] * np.arange(order.size, 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted
