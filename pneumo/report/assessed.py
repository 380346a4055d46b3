"""The tables of one run's assessment, and its AUROC on random, official and external images."""

from collections.abc import Mapping
from typing import Any

from pneumo.evaluation.scores import SCORES
from pneumo.report.table import Table, by_name
from pneumo.report.wording import DASH, decimal, score_cell
from pneumo.runs.run import Run

RANDOM, OFFICIAL, EXTERNAL = COLUMNS = ("random", "official", "external")
OF_PROTOCOL = {"official": OFFICIAL, "own": OFFICIAL}  # others split the images at random
SHOWN = {
    SCORES[name].title: name
    for name in (
        *("accuracy", "balanced_accuracy", "mcc", "auroc", "average_precision"),
        *("f1_normal", "f1_pneumonia"),
    )
}
POINT = {"sensitivity": "sensitivity", "specificity": "specificity", "PPV": "ppv", "NPV": "npv"}
SUBGROUP = {"auroc": "AUROC", "sensitivity": "sensitivity", "specificity": "specificity"}
BENEFIT_AT = (0.05, 0.1, 0.2, 0.3, 0.5)  # of the thresholds in metrics.json


def of_run(run: Run, assessment: Mapping[str, Any] | None) -> dict[str, str]:
    """Returns the AUROC of a run by COLUMNS; "" if missing, as all without its assessment.

    Raises:
        FileNotFoundError, ValueError: the run is broken, or a result is of other weights.
    """

    def auroc(assessed: Mapping[str, Any]) -> str:
        return "{} ({})".format(*score_cell(assessed["scores"]["auroc"], unknown=DASH))

    cells = dict.fromkeys(COLUMNS, "")
    if assessment is not None:
        cells[OF_PROTOCOL.get(run.metrics["protocol"], RANDOM)] = auroc(assessment)
        results = run.external.items()
        cells[EXTERNAL] = "; ".join(f"{name} {auroc(of['assessment'])}" for name, of in results)
    return cells


def tables(assessment: Mapping[str, Any]) -> dict[str, Table]:
    """Returns the tables of an assessment of `pneumo.evaluation.assessment`.

    scores; point; prevalence (PPV and NPV by it); calibration; subgroups; benefit (net benefit by
    threshold and prevalence, below it that of treating everyone).
    """
    point, calibration = assessment["operating_point"], assessment["calibration"]
    benefit, at_half = assessment["net_benefit"], assessment["scores"]
    subgroups: dict[Any, dict[str, Any]] = {}
    for row in assessment["subgroups"]:
        counts = f"{row['PNEUMONIA']} PNEUMONIA, {row['NORMAL']} NORMAL"
        scored = {name: score_cell(row[name]) for name in SUBGROUP if name in row}
        subgroups[f"{row['by']} {row['group']}", counts] = scored or {"auroc": row["why_not"]}
    by_share = {f"{100 * benefit['own_prevalence']:.0f} % here": benefit["at"]}
    by_share |= {_percent(each["prevalence"]): each["at"] for each in benefit["at_prevalence"]}
    benefits: dict[Any, dict[str, Any]] = {f"{at:.2f}": {} for at in BENEFIT_AT}
    for share, row in ((share, row) for share, rows in by_share.items() for row in rows):
        if f"{row['threshold']:.2f}" in benefits:
            cell = decimal(row["network"]), decimal(row["treat_all"])
            benefits[f"{row['threshold']:.2f}"][share] = cell
    states = {"as predicted": calibration["before"], "after the temperature": calibration["after"]}
    errors = {"ece": "ECE (15 bins)", "brier": "Brier score"}
    at = f"at {point['threshold']:.4f} on these images"
    return {
        "scores": _scores("score", at_half, SHOWN),
        "point": _scores(at, point, POINT),
        "prevalence": by_name(
            "share with pneumonia",
            {"ppv": "PPV", "npv": "NPV"},
            {
                _percent(row["prevalence"]): {k: decimal(row[k]) for k in ("ppv", "npv")}
                for row in point["at_prevalence"]
            },
        ),
        "calibration": by_name(
            "probability",
            errors,
            {t: {k: decimal(of[k]) for k in errors} for t, of in states.items() if of},
        ),
        "subgroups": by_name("part of these images", SUBGROUP, subgroups),
        "benefit": by_name("treat from", {share: share for share in by_share}, benefits),
    }


def _scores(corner: str, scores: Mapping[str, Any], shown: Mapping[str, str]) -> Table:
    rows = {title: {"value": score_cell(scores[name])} for title, name in shown.items()}
    return by_name(corner, {"value": "value, 95 % interval"}, rows)


def _percent(share: float) -> str:
    return f"{100 * share:.4g} %"
