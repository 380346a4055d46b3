"""What a run's predictions for its test part are worth: scores, calibration, subgroups."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from pneumo.calibration import brier, expected_calibration_error
from pneumo.intervals import Interval, bootstrap
from pneumo.metrics import Array, operating_point, predictive_values, scores
from pneumo.operating import calibrated

PREVALENCES = (0.05, 0.1, 0.2, 0.5)  # round numbers below the set's own 0.73, which is no clinic's
SCORES = {
    "accuracy": "accuracy",
    "AUROC": "auroc",
    "F1 of NORMAL": "f1_normal",
    "F1 of PNEUMONIA": "f1_pneumonia",
}
AT_THRESHOLD = {  # the same numbers as under these names of metrics.SCORES
    "sensitivity": "recall_pneumonia",
    "specificity": "recall_normal",
    "PPV": "precision_pneumonia",
    "NPV": "precision_normal",
}
OF_SUBTYPE = {"sensitivity": "recall_pneumonia", "AUROC against NORMAL": "auroc"}


class Score(NamedTuple):
    """A score in [0, 1] or NaN, with its 95 % interval by bootstrap over patients."""

    name: str
    value: float
    interval: Interval


class Group(NamedTuple):
    """The images of one subtype of pneumonia, against all NORMAL images."""

    name: str
    images: int
    patients: int
    scores: list[Score]


class Calibration(NamedTuple):
    """How well probabilities match what is observed; 0 is perfect for both."""

    name: str
    ece: float  # expected calibration error, 15 bins
    brier: float


class Predictive(NamedTuple):
    """PPV and NPV where a share ``prevalence`` has pneumonia."""

    prevalence: float
    ppv: float
    npv: float


def scored(
    table: pd.DataFrame, *, names: dict[str, str] = SCORES, threshold: float = 0.5
) -> list[Score]:
    """Returns the scores ``names`` (as shown: as in metrics.SCORES) of some predictions.

    Args:
        table: columns label (NORMAL, PNEUMONIA), patient, p_pneumonia; a row an image.
        names: SCORES, AT_THRESHOLD or OF_SUBTYPE.
        threshold: PNEUMONIA is called at this probability or above.
    """
    label, probability = _arrays(table)
    values = scores(label, probability, threshold=threshold)
    ends = bootstrap(
        label,
        probability,
        patient=table["patient"].to_numpy(str),
        threshold=threshold,
        names=list(names.values()),
    )
    return [Score(shown, values[name], ends[name]) for shown, name in names.items()]


def at_prevalences(table: pd.DataFrame, *, threshold: float) -> list[Predictive]:
    """Returns PPV and NPV at PREVALENCES, by Bayes' rule; ``table`` as in scored."""
    point = operating_point(*_arrays(table), threshold=threshold)
    ppv, npv = predictive_values(
        sensitivity=point["sensitivity"], specificity=point["specificity"], prevalence=PREVALENCES
    )
    return [Predictive(*map(float, row)) for row in zip(PREVALENCES, ppv, npv, strict=True)]


def calibrations(table: pd.DataFrame, *, temperature: float | None) -> list[Calibration]:
    """Returns the calibration as predicted, and with ``temperature`` where there is one."""
    label, probability = _arrays(table)
    kinds = {"as predicted": probability}
    if temperature is not None:
        kinds["after the temperature"] = calibrated(probability, temperature=temperature)
    return [
        Calibration(name, expected_calibration_error(label, p), brier(label, p))
        for name, p in kinds.items()
    ]


def subgroups(
    table: pd.DataFrame, *, threshold: float, subtypes: Sequence[str] = ("bacteria", "virus")
) -> list[Group]:
    """Returns the scores OF_SUBTYPE; ``table`` as in scored, with a column subtype."""
    groups = []
    for subtype in subtypes:
        own = table["subtype"] == subtype
        if own.any():
            kept = table[own | (table["label"] == "NORMAL")]
            patients = int(table.loc[own, "patient"].nunique())
            values = scored(kept, names=OF_SUBTYPE, threshold=threshold)
            groups.append(Group(subtype, int(own.sum()), patients, values))
    return groups


def _arrays(table: pd.DataFrame) -> tuple[Array, Array]:
    label = (table["label"] == "PNEUMONIA").to_numpy(np.int64)
    return label, table["p_pneumonia"].to_numpy(np.float64)
