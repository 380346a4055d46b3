"""Models on the same images: how their scores differ, with intervals over patients."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pneumo.evaluation.intervals import difference_interval, resampled_scores
from pneumo.evaluation.metrics import Array
from pneumo.evaluation.scores import CLINICAL, scores

DIFFERENCES = {"auroc": "auroc"} | {name: CLINICAL[name] for name in ("sensitivity", "specificity")}


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
