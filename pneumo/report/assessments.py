"""Tables of the assessment: operating point, calibration, subgroups, net benefit, heat maps."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from pneumo.evaluation.metrics import Array
from pneumo.report.groups import Cell, Group, spread
from pneumo.report.table import Row, Table, titled
from pneumo.report.trials import Trial, number, split_name
from pneumo.report.wording import DASH, decimal, interval
from pneumo.runs import run_folder
from pneumo.runs.run import Run

CURVE = ("threshold", "network", "treat_all")  # of a decision curve
SCORES = ("sensitivity", "specificity", "ppv", "npv")
OF_SUBGROUPS = ("auroc", "sensitivity", "specificity")
CALIBRATION = ("ece_before", "ece_after", "brier_before", "brier_after")
MAP_NUMBERS = ("deletion", "random", "gap", "share_of_gaps_above_0", "randomised")
BENEFIT_AT = (0.05, 0.1, 0.2, 0.3, 0.5)  # of the thresholds, in the table
OWN_SHARE = "own share"  # of PNEUMONIA in the test split
BINS = 15  # of the reliability diagram, as in pneumo.evaluation.calibration


class Value(NamedTuple):
    """A number of one trial, with its interval; NaN if unknown."""

    value: float
    low: float = float("nan")
    high: float = float("nan")


@dataclass(frozen=True)
class Assessment:
    """The assessment of one trial on its test split, at the best epoch."""

    numbers: dict[str, Value]  # SCORES, threshold, temperature, CALIBRATION, ppv@0.05 and others
    subgroups: dict[str, dict[str, Any]]  # by name: sizes, and a Value for each score
    before: Array  # (bins, 3): images, mean probability, share of PNEUMONIA
    after: Array  # (bins, 3), or (0, 3) without a temperature
    benefit: dict[str, Array]  # by prevalence: threshold, net benefit, that of treating everyone
    why_not: str  # why nothing is fixed on validation data; "" if it is
    warning: str  # on intervals of few patients


def read(run: Run) -> dict[str, Any]:
    """Returns the keys assessed (an Assessment, or None if unknown) and maps of a run.

    Intervals of an earlier method are computed again from the run's tables.
    """
    try:
        assessed = _assessment(run.assessment)
    except (OSError, ValueError, KeyError):  # tables are missing or broken
        assessed = None
    return {"assessed": assessed, "maps": run_folder.read_maps(run.run_dir, checkpoint="best")}


def known_assessments(cell: Cell) -> list[Assessment]:
    """Returns the known assessments of the trials."""
    assessed = (trial.metrics.get("assessed") for trial in cell.trials)
    return [value for value in assessed if isinstance(value, Assessment)]


def warnings(group: Group) -> list[str]:
    """Returns the warnings on intervals over few patients."""
    return sorted({a.warning for cell in group.cells for a in known_assessments(cell)} - {""})


def tables(group: Group) -> dict[str, Table]:
    """Returns the tables point, prevalence, calibration, benefit, subgroups and maps."""
    cells = [(cell, known_assessments(cell)) for cell in group.cells]
    cells = [(cell, assessed) for cell, assessed in cells if assessed]
    numbers = {key for _, assessed in cells for value in assessed for key in value.numbers}
    shares = sorted({key.partition("@")[2] for key in numbers} - {""}, key=float)
    stated = {f"{v}@{p}": f"{v.upper()} at {float(p):.0%}" for p in shares for v in ("ppv", "npv")}

    def of(*keys: str) -> list[Row]:
        return [
            {"network": cell.label, **{key: _cell([a.numbers[key] for a in assessed if key in
                                                   a.numbers]) for key in keys}}
            for cell, assessed in cells
        ]  # fmt: skip

    point, calibration = ("threshold", *SCORES), ("temperature", *CALIBRATION)
    benefit = [row for cell, assessed in cells for row in _benefit(cell, assessed)]
    subgroups = [row for cell, assessed in cells for row in _subgroups(cell, assessed)]
    maps = [row for trial in group.trials for row in _maps(trial)]
    named = ("trial", "method", "class")
    return {
        "point": titled(of(*point), "network", *point),
        "prevalence": Table({"network": "Network"} | stated, of(*stated)),
        "calibration": titled(of(*calibration), "network", *calibration),
        "benefit": Table(
            {"network": "Network", "prevalence": "PNEUMONIA"}
            | {f"{at:.2f}": f"Treat at {at:.2f}" for at in BENEFIT_AT},
            benefit,
        ),
        "subgroups": titled(subgroups, "subgroup", "sizes", *OF_SUBGROUPS),
        "maps": titled(maps, "network", *named, "images", *MAP_NUMBERS, texts=named),
    }


def pooled(bins: Sequence[Array]) -> Array:
    """Returns (bins, 3) of several trials as one, sorted by probability; images are added up."""
    rows = np.concatenate([*bins, np.empty((0, 3))])
    places = np.minimum((rows[:, 1] * BINS).astype(int), BINS - 1)
    out = []
    for place in np.unique(places):
        same = rows[places == place]
        images = same[:, 0].sum()
        out.append([images, *(same[:, 1:] * same[:, :1]).sum(0) / images])
    return np.array(out).reshape(-1, 3)


def _assessment(written: Any) -> Assessment | None:
    """Returns an assessment of pneumo.evaluation.assessment; None if it is malformed."""
    try:
        point, calibration = written["operating_point"], written["calibration"]
        numbers = {name: _value(point[name]) for name in SCORES}
        numbers["threshold"] = Value(number(point, "threshold"))
        numbers["temperature"] = Value(number(calibration, "temperature"))
        for name in CALIBRATION:
            score, _, state = name.partition("_")
            numbers[name] = Value(number(calibration[state], score))
        for row in point["at_prevalence"]:
            for name in ("ppv", "npv"):
                numbers[f"{name}@{float(row['prevalence'])}"] = Value(number(row, name))
        benefit = written["net_benefit"]
        curves = {OWN_SHARE: benefit["at"]}
        curves |= {f"{100 * c['prevalence']:.3g} %": c["at"] for c in benefit["at_prevalence"]}
        bins = ("images", "probability", "observed")
        after = calibration["after"] or {"reliability": []}
        return Assessment(
            numbers,
            {f"{row['by']} {row['group']}": _subgroup(row) for row in written["subgroups"]},
            before=_array(calibration["before"]["reliability"], bins),
            after=_array(after["reliability"], bins),
            benefit={name: _array(curve, CURVE) for name, curve in curves.items()},
            why_not="" if point["fixed_on"] else str(point["why_not"]),
            warning=str(written["interval"]["warning"] or ""),
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def _value(row: Any) -> Value:
    return Value(*(number(row, key) for key in Value._fields))


def _subgroup(row: Any) -> dict[str, Any]:
    sizes = f"{int(row['PNEUMONIA']):,} / {int(row['NORMAL']):,}"
    return {"sizes": sizes, **{name: _value(row.get(name)) for name in OF_SUBGROUPS}}


def _array(rows: Any, names: Sequence[str]) -> Array:
    return np.array([[number(row, key) for key in names] for row in rows]).reshape(-1, len(names))


def _cell(values: Sequence[Value]) -> tuple[str, str]:
    """Returns a number and the line below it: one trial's interval, or the range of several."""
    if len(values) == 1:
        ends = interval(values[0].low, values[0].high)
        return decimal(values[0].value), "" if ends == DASH else ends
    over = spread([value.value for value in values])
    same = over.n < 2 or over.low == over.high
    return decimal(over.median), "" if same else interval(over.low, over.high)


def _subgroups(cell: Cell, assessed: Sequence[Assessment]) -> list[Row]:
    rows: list[Row] = []
    for name in dict.fromkeys(name for value in assessed for name in value.subgroups):
        same = [value.subgroups[name] for value in assessed if name in value.subgroups]
        sizes = same[0]["sizes"] if len({row["sizes"] for row in same}) == 1 else "varies"
        scores = {key: _cell([row[key] for row in same]) for key in OF_SUBGROUPS}
        rows.append({"network": cell.label, "subgroup": name, "sizes": sizes, **scores})
    return rows


def _benefit(cell: Cell, assessed: Sequence[Assessment]) -> list[Row]:
    """Returns net benefit at the images' own share of PNEUMONIA and at stated ones, a row each."""
    return [
        {"network": cell.label, "prevalence": share}
        | {f"{at:.2f}": _benefit_cell(assessed, share, at) for at in BENEFIT_AT}
        for share in dict.fromkeys(share for value in assessed for share in value.benefit)
    ]


def _benefit_cell(assessed: Sequence[Assessment], share: str, at: float) -> tuple[str, str]:
    curves = [value.benefit[share] for value in assessed if share in value.benefit]
    here = np.concatenate([curve[np.isclose(curve[:, 0], at)][:, 1:] for curve in curves])
    network, everyone = (decimal(spread(values).median) for values in here.T)
    return network, f"everyone {everyone}"


def _maps(trial: Trial) -> list[Row]:
    return [
        {"network": trial.model, "trial": split_name(trial.split), "method": row["method"]}
        | {"class": row["class"], "images": f"{number(row['mean'], 'images'):.0f}"}
        | {key: decimal(number(row["mean"], key)) for key in MAP_NUMBERS}
        for row in trial.metrics.get("maps") or []
    ]
