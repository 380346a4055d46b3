"""What the scores are worth: operating point, calibration, subgroups, heat maps, as table cells."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pneumo.evaluation.intervals import has_intervals
from pneumo.evaluation.metrics import Array
from pneumo.labels import CLASS_NAMES, PNEUMONIA
from pneumo.report.groups import Cell, Group, spread
from pneumo.report.trials import Trial, number
from pneumo.report.wording import DASH, decimal, interval
from pneumo.runs import run_folder
from pneumo.runs.finished import read_table

if TYPE_CHECKING:
    import pandas as pd

CURVE = ("threshold", "network", "treat_all")  # of a decision curve
SCORES = ("sensitivity", "specificity", "ppv", "npv")
POINT = {
    "network": "Network",
    "threshold": "Threshold",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "ppv": "PPV",
    "npv": "NPV",
}
CALIBRATION = {
    "network": "Network",
    "temperature": "Temperature",
    "ece_before": "ECE of PNEUMONIA's probability",
    "ece_after": "the same, calibrated",
    "brier_before": "Brier score",
    "brier_after": "Brier score, calibrated",
}
SUBGROUPS = {
    "network": "Network",
    "group": "Subgroup",
    "images": "PNEUMONIA / NORMAL",
    "auroc": "AUROC",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
}
MAPS = {
    "network": "Network",
    "run": "Trial",
    "method": "Method",
    "class": "Class",
    "images": "Images",
    "deletion": "Deletion",
    "random": "Random order",
    "gap": "Gap",
    "share_of_gaps_above_0": "Radiographs with gap above 0",
    "randomised": "Randomised network",
}
AGREES = 0.005  # scores of predictions may differ from those written by rounding, not by more
BENEFIT_AT = (0.05, 0.1, 0.2, 0.3, 0.5)  # of the thresholds, in the table
BENEFIT = {"network": "Network", "prevalence": PNEUMONIA} | {
    f"{at:.2f}": f"Treat at {at:.2f}" for at in BENEFIT_AT
}
TABLES = {
    "benefit": BENEFIT,
    "point": POINT,
    "calibration": CALIBRATION,
    "subgroups": SUBGROUPS,
    "maps": MAPS,
}


class Value(NamedTuple):
    """A number of one trial, with its interval; NaN for what is not known."""

    value: float
    low: float = float("nan")
    high: float = float("nan")


@dataclass(frozen=True)
class Assessment:
    """What one trial's scores on its test split are worth, at the best epoch."""

    numbers: dict[str, Value]  # by column of POINT and CALIBRATION, and ppv and npv by prevalence
    subgroups: dict[str, dict[str, Any]]  # by name: images, and a Value for each score
    before: Array  # (bins, 3): images, mean probability, share of PNEUMONIA
    after: Array  # (bins, 3), or (0, 3) without a temperature
    benefit: Array  # (thresholds, 3): threshold, net benefit, that of treating everyone
    stated: dict[str, Array]  # by prevalence, (thresholds, 3) as benefit
    why_not: str  # nothing is fixed on validation data; "" where it is
    warning: str = ""  # on intervals of few patients
    outdated: bool = False  # its intervals, of an earlier method, were left out


def read(path: Path, metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the keys assessed (an Assessment, or None where not known) and maps of a run folder.

    A run of a version that did not write its assessment, or wrote intervals of another method, is
    assessed from its predictions, if they are whole; otherwise intervals of another method are
    left out. No content of the folder raises.
    """
    written = metrics.get("assessment")
    one = _assessment(written)
    if one is None or not has_intervals(written):
        anew = _assessment(_from_predictions(path, str(metrics.get("protocol"))))
        one = anew if one is None else _without_intervals(one, anew)
    return {"assessed": one, "maps": run_folder.read_maps(path, checkpoint="best")}


def tables(group: Group) -> dict[str, Any]:
    """Returns rows by name of TABLES, prevalences with their rows, and what cannot be said."""
    known = [(cell, known_assessments(cell)) for cell in group.cells]
    known = [(cell, found) for cell, found in known if found]
    every = [one for _, found in known for one in found]
    stated = sorted({key for one in every for key in one.numbers if "@" in key})
    shares = sorted({key.partition("@")[2] for key in stated}, key=float)
    return {
        "point": [_row(cell, found, POINT) for cell, found in known],
        "calibration": [_row(cell, found, CALIBRATION) for cell, found in known],
        "prevalence_columns": {"network": "Network"}
        | {f"{v}@{p}": f"{v.upper()} at {float(p):.0%}" for p in shares for v in ("ppv", "npv")},
        "prevalence": [_row(cell, found, dict.fromkeys(stated)) for cell, found in known],
        "subgroups": [row for cell, found in known for row in _subgroups(cell, found)],
        "maps": [row for trial in group.trials for row in _maps(trial)],
        "benefit": [row for cell, found in known for row in _benefit(cell, found)],
        "why_not": sorted({one.why_not for one in every} - {""}),
        "warnings": warnings(group),
        "outdated": sum(one.outdated for one in every),
        "unknown": len(group.trials) - len(every),
    }


def warnings(group: Group) -> list[str]:
    """What is to be said of intervals over few patients."""
    return sorted({one.warning for cell in group.cells for one in known_assessments(cell)} - {""})


def pooled(tables: Sequence[Array]) -> Array:
    """(bins, 3) of several trials as one, sorted by probability; images are added up."""
    rows = np.concatenate([*tables, np.empty((0, 3))])
    places = np.minimum((rows[:, 1] * 15).astype(int), 14)  # bins as in calibration.py
    out = []
    for place in np.unique(places):
        own = rows[places == place]
        images = own[:, 0].sum()
        out.append([images, *(own[:, 1:] * own[:, :1]).sum(0) / images])
    return np.array(out).reshape(-1, 3)


def known_assessments(cell: Cell) -> list[Assessment]:
    """The assessments of the trials, as far as they are known."""
    found = [trial.metrics.get("assessed") for trial in cell.trials]
    return [one for one in found if isinstance(one, Assessment)]


def _assessment(found: Any) -> Assessment | None:
    """What an assessment, see pneumo.evaluation.assessment, says; None where it is not one."""
    try:
        point, calibration = found["operating_point"], found["calibration"]
        values = {name: _value(point[name]) for name in SCORES}
        values["threshold"] = Value(number(point, "threshold"))
        values["temperature"] = Value(number(calibration, "temperature"))
        for state in ("before", "after"):
            for name in ("ece", "brier"):
                values[f"{name}_{state}"] = Value(number(calibration[state], name))
        for row in point["at_prevalence"]:
            for name in ("ppv", "npv"):
                values[f"{name}@{float(row['prevalence'])}"] = Value(number(row, name))
        bins = ("images", "probability", "observed")
        after = calibration["after"] or {"reliability": []}
        return Assessment(
            values,
            {f"{row['by']} {row['group']}": _subgroup(row) for row in found["subgroups"]},
            before=_array(calibration["before"]["reliability"], bins),
            after=_array(after["reliability"], bins),
            benefit=_array(found["net_benefit"]["at"], CURVE),
            stated={
                str(float(row["prevalence"])): _array(row["at"], CURVE)
                for row in found["net_benefit"].get("at_prevalence", ())
            },
            why_not="" if point["fixed_on"] else str(point["why_not"]),
            warning=str((found.get("interval") or {}).get("warning") or ""),
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def _without_intervals(written: Assessment, anew: Assessment | None) -> Assessment:
    """What is known anew, and of what is written (subgroups by size of file) only the scores.

    Predictions that do not give the scores that are written are of other images: not used.
    """
    subgroups = {
        name: {key: Value(v.value) if isinstance(v, Value) else v for key, v in one.items()}
        for name, one in written.subgroups.items()
    }
    if anew is not None and all(_agree(written, anew, name) for name in SCORES):
        known = {
            name: one
            for name, one in anew.subgroups.items()
            if name not in subgroups or one["images"] == subgroups[name]["images"]
        }
        return replace(anew, subgroups=subgroups | known)
    numbers = {key: Value(value.value) for key, value in written.numbers.items()}
    return replace(written, numbers=numbers, subgroups=subgroups, outdated=True)


def _agree(one: Assessment, other: Assessment, name: str) -> bool:
    gap = abs(one.numbers[name].value - other.numbers[name].value)
    return not gap > AGREES  # what is unknown in either agrees


def _value(row: Any) -> Value:
    return Value(*(number(row, key) for key in Value._fields))


def _subgroup(row: Any) -> dict[str, Any]:
    images = f"{int(row['PNEUMONIA']):,} / {int(row['NORMAL']):,}"
    scores = ("auroc", "sensitivity", "specificity")
    return {"images": images, **{name: _value(row.get(name)) for name in scores}}


def _array(rows: Any, names: Sequence[str]) -> Array:
    return np.array([[number(row, key) for key in names] for row in rows]).reshape(-1, len(names))


def _from_predictions(path: Path, protocol: str) -> dict[str, Any] | None:
    import pandas as pd  # late: half a second that reports of newer runs need not wait for

    from pneumo.evaluation.assessment import assess_run

    try:
        scored = read_table(
            path / "predictions.csv", ["path", "label", "p_pneumonia"], labels=CLASS_NAMES
        )
        scored["p_pneumonia"] = pd.to_numeric(scored["p_pneumonia"])
        if not scored["p_pneumonia"].between(0, 1).all():
            return None
        columns = ["path", "group", "label", "subtype", "source", "split"]
        try:
            split = read_table(path / "split.csv", columns, labels=CLASS_NAMES)
        except FileNotFoundError:
            return assess_run(_named(scored), protocol=protocol)
        table = split[columns].merge(scored[["path", "p_pneumonia"]], on="path")
        return assess_run(table, protocol=protocol)
    except (OSError, ValueError, KeyError, IndexError, TypeError):
        return None


def _named(scored: "pd.DataFrame") -> "pd.DataFrame":
    """Predictions with group, subtype and source, of which paths of the set tell as much."""
    from pneumo.data.kermany import parse_name  # late: it imports pandas

    told = [parse_name(name) or ("", "", "", "", "") for name in scored["path"]]
    return scored.assign(
        group=scored["patient"], subtype=[row[2] for row in told], source=[row[4] for row in told]
    )


def _row(cell: Cell, found: Sequence[Assessment], columns: Mapping[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = {"network": (cell.label, "")}
    for key in columns:
        if key != "network":
            row[key] = _cell([one.numbers.get(key, Value(np.nan)) for one in found])
    return row


def _cell(values: Sequence[Value]) -> tuple[str, str]:
    """A number and what stands below it: of one trial its interval, of several the range."""
    if len(values) == 1:
        (one,) = values
        ends = interval(one.low, one.high)
        return decimal(one.value), "" if ends == DASH else ends
    over = spread([value.value for value in values])
    same = over.n < 2 or over.low == over.high
    return decimal(over.median), "" if same else interval(over.low, over.high)


def _subgroups(cell: Cell, found: Sequence[Assessment]) -> list[dict[str, Any]]:
    rows = []
    for name in dict.fromkeys(name for one in found for name in one.subgroups):
        own = [one.subgroups[name] for one in found if name in one.subgroups]
        images = own[0]["images"] if len({one["images"] for one in own}) == 1 else "varies"
        row: dict[str, Any] = {"network": (cell.label, ""), "group": (name, "")}
        row["images"] = (images, "")
        for key in ("auroc", "sensitivity", "specificity"):
            row[key] = _cell([one[key] for one in own])
        rows.append(row)
    return rows


def _benefit(cell: Cell, found: Sequence[Assessment]) -> list[dict[str, Any]]:
    """Net benefit at the images' own share of PNEUMONIA and at those stated, a row each."""
    curves = {"own share": [one.benefit for one in found]}
    for share in dict.fromkeys(share for one in found for share in one.stated):
        name = f"{100 * float(share):.3g} %"
        curves[name] = [one.stated[share] for one in found if share in one.stated]
    return [
        {"network": (cell.label, ""), "prevalence": (name, "")}
        | {f"{at:.2f}": _benefit_cell(found, at) for at in BENEFIT_AT}
        for name, found in curves.items()
    ]


def _benefit_cell(curves: Sequence[Array], threshold: float) -> tuple[str, str]:
    here = [curve[np.isclose(curve[:, 0], threshold)][:, 1:] for curve in curves]
    own, everyone = (decimal(spread(values).median) for values in np.concatenate(here).T)
    return own, f"everyone {everyone}"


def _maps(trial: Trial) -> list[dict[str, Any]]:
    rows = []
    for found in trial.metrics.get("maps") or []:
        mean = found["mean"]
        row = {"network": trial.model, "run": f"seed {trial.split[0]}", "class": found["class"]}
        row |= {"method": found["method"], "images": f"{number(mean, 'images'):.0f}"}
        row |= {key: decimal(number(mean, key)) for key in MAPS if key not in row}
        rows.append({key: (str(value), "") for key, value in row.items()})
    return rows
