"""The assessment of one network or ensemble: scores, operating point, calibration, subgroups.

The same numbers are in metrics.json, the output of pneumo.evaluate, the report and the model card.
Intervals are of 95 %, over patients, see pneumo.evaluation.intervals.
"""

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from pneumo.choices import PREVALENCES, SENSITIVITY
from pneumo.evaluation.intervals import LEVEL, METHOD, few_patients, warning, with_intervals
from pneumo.evaluation.metrics import (
    Array,
    at_prevalence,
    brier,
    expected_calibration_error,
    net_benefit,
    predictive_values,
    reliability,
)
from pneumo.evaluation.operating_point import OperatingPoint, by_rule, calibrated
from pneumo.evaluation.scores import CLINICAL, SCORES
from pneumo.labels import BACTERIA, CLASS_NAMES, NORMAL, PNEUMONIA, VIRUS

# Chance of pneumonia at which one would treat: a twentieth to nineteen twentieths
NET_BENEFIT_AT = tuple(number / 20 for number in range(1, 20))
NUM_SIZES = 3  # groups of image sizes, of about as many images each
SHOWN = {name: CLINICAL[name] for name in ("sensitivity", "specificity")} | {"auroc": "auroc"}
MIN_PATIENTS = 5  # of each label in a subgroup; subgroups with fewer are not scored


def assess(
    table: pd.DataFrame,
    probability: Array,  # (N,) raw, of PNEUMONIA
    *,
    fixed: OperatingPoint,  # before these images are scored
    prevalences: Sequence[float] = PREVALENCES,  # of PPV, NPV and net benefit, each in (0, 1)
) -> dict[str, Any]:
    """Returns every number of one network or ensemble, by name.

    ``table``: columns label, group (the patient, for the intervals), subtype, source, and pixels
    (of the file, NaN if unknown; may be missing).
    """
    label, patient = labels(table), table["group"]
    subgroups = _subgroups(table, label, probability, fixed.threshold)
    few = ["all images"] if few_patients(label, patient=patient) else []
    few += [f"{row['by']} {row['group']}" for row in subgroups if row.get("few_patients")]
    every = {name: name for name in SCORES}
    return {
        "interval": {"method": METHOD, "level": LEVEL, "warning": warning(few)},
        "scores": with_intervals(label, probability, patient=patient, names=every),
        "operating_point": _point(table, label, probability, fixed, prevalences),
        "calibration": _calibration(label, probability, fixed),
        "subgroups": subgroups,
        "net_benefit": _net_benefit(label, probability, fixed, prevalences),
    }


def labels(table: pd.DataFrame) -> Array:
    """Returns (N,) int64, 1 for PNEUMONIA."""
    return (table["label"] == PNEUMONIA).to_numpy(np.int64)


def counts(table: pd.DataFrame) -> dict[str, int]:
    """Returns the number of images, of patients (column group), and of images of each label."""
    by_label = {name: int((table["label"] == name).sum()) for name in CLASS_NAMES}
    return {"images": len(table), "patients": int(table["group"].nunique()), **by_label}


def assess_run(
    table: pd.DataFrame, *, protocol: str, decision: str, trained_at: float
) -> dict[str, Any]:
    """Returns `assess` of a run's test split, at the point of its decision rule.

    ``table``: columns as in assess, p_pneumonia, and split (val, test). ``protocol``: for the
    reason if there is no validation split. ``trained_at``: see by_rule.
    """
    val, test = (table[table["split"] == split] for split in ("val", "test"))
    reason = f"the run has no validation split (protocol={protocol})"
    validation = reason if val.empty else (labels(val), val["p_pneumonia"])
    fixed = by_rule(decision, validation, trained_at=trained_at)
    return assess(test, test["p_pneumonia"].to_numpy(np.float64), fixed=fixed)


def _point(
    table: pd.DataFrame,
    label: Array,
    probability: Array,
    fixed: OperatingPoint,
    prevalences: Sequence[float],
) -> dict[str, Any]:
    """Returns the operating point; why_not, if another rule had to be set aside."""
    origin: dict[str, Any] = {"decision": fixed.rule, "fixed_on": fixed.fixed_on}
    if fixed.fixed_on:
        origin |= {"val_images": fixed.images, "val_sensitivity_at_least": SENSITIVITY}
    if fixed.set_aside:
        origin["why_not"] = fixed.why_not
    origin["threshold"] = fixed.threshold
    at: dict[str, Any] = {"patient": table["group"], "threshold": fixed.threshold}
    values = with_intervals(label, probability, **at, names=CLINICAL)
    ppv, npv = predictive_values(
        sensitivity=values["sensitivity"]["value"],
        specificity=values["specificity"]["value"],
        prevalence=np.asarray(prevalences, dtype=np.float64),
    )
    stated = pd.DataFrame({"prevalence": prevalences, "ppv": ppv, "npv": npv}).to_dict("records")
    return {**origin, **values, "own_prevalence": float(label.mean()), "at_prevalence": stated}


def _calibration(label: Array, probability: Array, fixed: OperatingPoint) -> dict[str, Any]:
    def both(p: Array) -> dict[str, Any]:
        bins = pd.DataFrame(reliability(label, p)._asdict(), dtype=float).dropna()
        return {
            "ece": expected_calibration_error(label, p),
            "brier": brier(label, p),
            "reliability": bins.to_dict("records"),
        }

    if fixed.temperature is None:
        none = {"temperature": None, "why_not": fixed.why_not}
        return {**none, "before": both(probability), "after": None}
    after = calibrated(probability, temperature=fixed.temperature)
    return {"temperature": fixed.temperature, "before": both(probability), "after": both(after)}


def _subgroups(
    table: pd.DataFrame, label: Array, probability: Array, threshold: float
) -> list[dict[str, Any]]:
    """Returns bacteria and virus each against all NORMAL; sources and sizes with both labels.

    Intervals are over the patients of the subgroup.
    """
    normal = (table["label"] == NORMAL).to_numpy()
    masks: dict[tuple[str, str], Any] = {}
    for subtype in (BACTERIA, VIRUS):
        masks["subtype", subtype] = normal | (table["subtype"] == subtype).to_numpy()
    sources = [s for s in sorted(set(table["source"])) if s]
    if len(sources) > 1:
        masks |= {("source", s): (table["source"] == s).to_numpy() for s in sources}
    masks |= _sizes(table)
    return [
        {"by": by, "group": name, "threshold": threshold}
        | _subgroup(table[mask], label[mask], probability[mask], threshold)
        for (by, name), mask in masks.items()
    ]


def _sizes(table: pd.DataFrame) -> dict[tuple[str, str], Any]:
    """Returns masks of small, middle and large files; none if sizes are unknown or equal."""
    if "pixels" not in table:
        return {}
    pixels = table["pixels"].to_numpy(np.float64)
    if np.isnan(pixels).any() or np.unique(pixels).size < NUM_SIZES:
        return {}
    ends = np.quantile(pixels, np.arange(1, NUM_SIZES) / NUM_SIZES)
    place = np.searchsorted(ends, pixels)
    masks = [place == number for number in np.unique(place)]
    ranges = [(pixels[mask].min() / 1e6, pixels[mask].max() / 1e6) for mask in masks]
    names = [f"{least:.2f}-{most:.2f} MP" for least, most in ranges]
    return {("size", name): mask for name, mask in zip(names, masks, strict=True)}


def _subgroup(
    table: pd.DataFrame, label: Array, probability: Array, threshold: float
) -> dict[str, Any]:
    sick, patients = int(label.sum()), int(table["group"].nunique())
    counts: dict[str, Any] = {PNEUMONIA: sick, NORMAL: label.size - sick, "patients": patients}
    if table["group"].groupby(label).nunique().reindex([0, 1], fill_value=0).min() < MIN_PATIENTS:
        return counts | {"why_not": f"fewer than {MIN_PATIENTS} patients of a label"}
    counts["few_patients"] = few_patients(label, patient=table["group"])
    at: dict[str, Any] = {"patient": table["group"], "threshold": threshold}
    return counts | with_intervals(label, probability, **at, names=SHOWN)


def _net_benefit(
    label: Array, probability: Array, fixed: OperatingPoint, prevalences: Sequence[float]
) -> dict[str, Any]:
    """Returns net benefit per image beside that of treating everyone; treating no one is 0.

    At the images' own share of PNEUMONIA, and at the stated prevalences, for which images are
    weighted by Bayes' rule. At each the probability is corrected from the share it was fitted at.
    """
    own = float(label.mean())
    fitted_at = own if fixed.prevalence is None else fixed.prevalence
    name, used = "raw", probability
    if fixed.temperature is not None:
        name, used = "calibrated", calibrated(probability, temperature=fixed.temperature)

    def rows(prevalence: float) -> list[dict[Hashable, float]]:
        weighted_to = None if prevalence == own else prevalence
        at: dict[str, Any] = {"threshold": NET_BENEFIT_AT, "prevalence": weighted_to}
        p = used
        if prevalence != fitted_at:  # else equal but for rounding
            p = at_prevalence(used, fitted_at=fitted_at, prevalence=prevalence)
        benefit = {
            "threshold": NET_BENEFIT_AT,
            "network": net_benefit(label, p, **at),
            "treat_all": net_benefit(label, np.ones(label.size), **at),
        }
        return pd.DataFrame(benefit).to_dict("records")

    return {
        "probability": name,
        "own_prevalence": own,
        "at": rows(own),
        "fitted_at": fitted_at,
        "at_prevalence": [{"prevalence": share, "at": rows(share)} for share in prevalences],
    }
