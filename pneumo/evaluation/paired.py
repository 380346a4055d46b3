"""Two models on the same images: how their scores differ, with intervals over patients."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pneumo.evaluation.intervals import difference_interval, resampled_scores
from pneumo.evaluation.metrics import Array, scores

DIFFERENCES = {  # PNEUMONIA is positive
    "auroc": "auroc",
    "sensitivity": "recall_pneumonia",
    "specificity": "recall_normal",
}
RESAMPLES = 1000


@dataclass(frozen=True)
class Drawn:
    """What one model scores on some images, and on draws of their patients."""

    called: Array  # (N,) bool, PNEUMONIA at the operating point
    value: dict[str, float]  # by name of DIFFERENCES
    draws: dict[str, Array]  # (RESAMPLES,) of each


def draw(
    label: ArrayLike, probability: ArrayLike, *, patient: ArrayLike, threshold: float
) -> Drawn:
    """Returns a model's scores on 1,000 draws of the patients, the same for every model.

    Args:
        label: (N,) int, 0 NORMAL, 1 PNEUMONIA.
        probability: (N,) of PNEUMONIA.
        patient: (N,) of any type, who each image is of.
        threshold: the model's operating point.
    """
    names = tuple(DIFFERENCES.values())
    probability = np.asarray(probability)
    value = scores(label, probability, threshold=threshold)
    draws = resampled_scores(
        label,
        probability,
        patient=patient,
        threshold=threshold,
        names=names,
        resamples=RESAMPLES,
    )
    return Drawn(
        probability >= threshold,
        {name: float(value[score]) for name, score in DIFFERENCES.items()},
        {name: draws[score] for name, score in DIFFERENCES.items()},
    )


def minus(first: Drawn, second: Drawn) -> dict[str, Any]:
    """Returns the first model's scores minus the second's: value, low and high of each.

    Both must be of the same images in one order. It is a paired bootstrap, its ends the 2.5 % and
    97.5 % quantiles, so that what is hard for both does not widen the interval. Where the two
    decide alike on every image of a class there is no interval (NaN). ``called_differently``, how
    many images they decide on differently, says how much the others rest on.
    """
    found: dict[str, Any] = {}
    for name in DIFFERENCES:
        low, high = difference_interval(first.draws[name], second.draws[name])
        value = first.value[name] - second.value[name]
        found[name] = {"value": value, "low": low, "high": high}
    return found | {"called_differently": int((first.called != second.called).sum())}
