"""Two models on the same images: how their scores differ, with intervals over patients."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pneumo.evaluation.intervals import difference_interval, resampled_scores
from pneumo.evaluation.metrics import Array
from pneumo.evaluation.scores import CLINICAL, scores

DIFFERENCES = {"auroc": "auroc"} | {name: CLINICAL[name] for name in ("sensitivity", "specificity")}
RESAMPLES = 1000


@dataclass(frozen=True)
class Drawn:
    """The scores of one model on some images, and on draws of their patients."""

    predicted: Array  # (N,) bool, PNEUMONIA at the operating point
    value: dict[str, float]  # by name of DIFFERENCES
    draws: dict[str, Array]  # (RESAMPLES,) of each


def draw(
    label: ArrayLike, probability: ArrayLike, *, patient: ArrayLike, threshold: float
) -> Drawn:
    """Returns a model's scores on 1,000 draws of the patients, the same draws for every model.

    ``threshold``: the model's operating point. Arguments: see intervals.score_intervals.
    """
    value = scores(label, probability, threshold=threshold)
    draws = resampled_scores(
        label,
        probability,
        patient=patient,
        threshold=threshold,
        names=tuple(DIFFERENCES.values()),
        resamples=RESAMPLES,
    )
    return Drawn(
        np.asarray(probability) >= threshold,
        {name: value[score] for name, score in DIFFERENCES.items()},
        {name: draws[score] for name, score in DIFFERENCES.items()},
    )


def minus(first: Drawn, second: Drawn) -> dict[str, Any]:
    """Returns the first model's scores minus the second's: value, low and high of each.

    Both must be of the same images in one order. The interval is a paired bootstrap (2.5 % and
    97.5 % quantiles), so that images that are hard for both do not widen it; NaN if both decide
    alike on every image of a class. ``called_differently`` counts the images that they decide on
    differently.
    """
    differences: dict[str, Any] = {}
    for name in DIFFERENCES:
        low, high = difference_interval(first.draws[name], second.draws[name])
        value = first.value[name] - second.value[name]
        differences[name] = {"value": value, "low": low, "high": high}
    return differences | {"called_differently": int((first.predicted != second.predicted).sum())}
