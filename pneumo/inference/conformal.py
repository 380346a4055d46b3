"""Sets of labels that hold the true one as often as stated: conformal prediction by class.

Split conformal prediction, Mondrian by label: V. Vovk, "Conditional validity of inductive conformal
predictors", Machine Learning 92 (2013) 349: one quantile for each label. One image of each patient
counts, see `one_per_patient`; the coverage holds for any image of a new patient who is exchangeable
with these: of the same hospital, the same machine, the same share of bacterial ones. `coverage`
measures it on other images. The simulation is in docs/notes/intervals.md.
"""

from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from pneumo.evaluation.assessment import MIN_PATIENTS
from pneumo.evaluation.intervals import share_interval
from pneumo.evaluation.metrics import ROUNDING, Array, checked
from pneumo.labels import CLASS_NAMES

ALPHA = 0.025  # chance below which coverage does not hold
NAMES = ("neither", *CLASS_NAMES, "both")  # of a set, by 1 for NORMAL and 2 for PNEUMONIA


@dataclass(frozen=True)
class PredictionSets:
    """The probability from which each label is in the set."""

    coverage: float  # stated: of each label's patients, the share whose image's set holds it
    least: tuple[float, float]  # probability of NORMAL, of PNEUMONIA
    patients: tuple[int, int]  # of each label, that it was calibrated on by one image each

    def contains(self, probability: ArrayLike) -> Array:
        """(N,) raw probabilities of PNEUMONIA to (N, 2) bool, whether NORMAL, PNEUMONIA is in."""
        return _by_label(probability) >= np.asarray(self.least)

    def name(self, probability: float) -> str:
        """The set of one image: NORMAL, PNEUMONIA, both or neither.

        >>> PredictionSets(0.9, (0.3, 0.4), (100, 100)).name(0.65)
        'both'
        """
        normal, pneumonia = self.contains([probability])[0].tolist()
        return NAMES[normal + 2 * pneumonia]


def one_per_patient(table: pd.DataFrame) -> pd.DataFrame:
    """Returns one image of each patient (group) and label: the least hash of its path."""
    order = pd.util.hash_array(table["path"].to_numpy(object)).argsort(kind="stable")
    return table.iloc[order].drop_duplicates(["group", "label"])


def fit(label: ArrayLike, probability: ArrayLike, *, coverage: float, of: str) -> PredictionSets:
    """Returns the sets that (N,) labels and raw probabilities of PNEUMONIA give.

    They are of one image of each patient, not of the train split; ``of`` names them in messages.
    Of n patients of a label, the set holds it where its probability is at least the k-th highest of
    theirs, k = ceil((n + 1) coverage). Of new patients, exchangeable with them, at least the share
    ``coverage``, in (0, 1), has it. ValueError: a label has too few patients: it would be in every
    set.
    """
    label, probability = checked(label, probability)
    least, patients = [], []
    for number, name in enumerate(CLASS_NAMES):
        probabilities = np.sort(_by_label(probability)[label == number, number])[::-1]
        place = _place(probabilities.size, coverage)
        if place > probabilities.size:
            most = probabilities.size / (probabilities.size + 1)
            raise ValueError(
                f"--coverage {coverage:g} needs {ceil(1 / (1 - coverage) - 1e-9) - 1:,} patients "
                f"of each label to calibrate on, of whom one image counts; {of} has "
                f"{probabilities.size:,} of {name}, enough for {most:.2g}"
            )
        least.append(max(float(probabilities[place - 1]) - ROUNDING, 0.0))
        patients.append(int(probabilities.size))
    return PredictionSets(coverage, (least[0], least[1]), (patients[0], patients[1]))


def coverage(table: pd.DataFrame, sets: PredictionSets) -> list[dict[str, Any]]:
    """Returns how often the sets hold the label, a row for each label with 5 patients or more.

    Each row: label, images, patients, value with low and high (95 %, over patients), by_chance (see
    `_by_chance`). ``table``: path, label, group (who) and p_pneumonia of patients that the sets are
    not calibrated on.
    """
    shares = []
    for number, name in enumerate(CLASS_NAMES):
        rows = table[table["label"] == name]
        held = sets.contains(rows["p_pneumonia"])[:, number]
        held_by_patient = sets.contains(one_per_patient(rows)["p_pneumonia"])[:, number]
        if held_by_patient.size >= MIN_PATIENTS:
            counts = {"label": name, "images": held.size, "patients": held_by_patient.size}
            interval = share_interval(held, patient=rows["group"])
            chance = _by_chance(held_by_patient, sets, number)
            value = {"value": float(held.mean()), **interval._asdict(), "by_chance": chance}
            shares.append(counts | value)
    return shares


def sentence(rows: list[dict[str, Any]], sets: PredictionSets) -> str:
    """Returns `coverage` in words, with a warning if it is too low."""
    if not rows:
        return f"fewer than {MIN_PATIENTS} patients of each label do not show their coverage"
    text = " and ".join(
        f"{row['value']:.3f} ({row['low']:.3f} to {row['high']:.3f}) of {row['label']}"
        for row in rows
    )
    short = [str(row["label"]) for row in rows if row["by_chance"] < ALPHA]
    warning = (
        f"; so {sets.coverage:g} DOES NOT HOLD for {' and '.join(short)}: these images "
        "differ from the calibration images, and yours may, too"
    )
    return f"they contain the true label of {text} images{warning if short else ''}"


def _by_chance(held: Array, sets: PredictionSets, number: int) -> float:
    """Returns the chance of so few or fewer of (P,) patients, if all are exchangeable.

    It is exact: of P new patients, one image each, a beta-binomial number is held, with k and
    n + 1 - k of the n patients that the sets were calibrated on (where probabilities tie, more).
    """
    from scipy.stats import betabinom  # late: a second

    patients = sets.patients[number]
    place = _place(patients, sets.coverage)
    return float(betabinom.cdf(held.sum(), held.size, place, patients + 1 - place))


def _place(patients: int, coverage: float) -> int:
    return ceil((patients + 1) * coverage - 1e-9)  # 0.9 * 10 may be a little more than 9


def _by_label(probability: ArrayLike) -> Array:
    sick = np.asarray(probability, dtype=np.float64)
    return np.stack([1 - sick, sick], 1)
