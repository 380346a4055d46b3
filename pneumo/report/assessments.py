"""Tables of the assessment: operating point, calibration, subgroups, net benefit, heat maps."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from pneumo.evaluation.metrics import Array
from pneumo.report.groups import Cell, Group
from pneumo.report.table import Row, Table, titled
from pneumo.report.trials import Trial, number, split_name, spread
from pneumo.report.wording import DASH, decimal, interval
from pneumo.runs import run_folder
from pneumo.runs.run import Run

SCORES = ("sensitivity", "specificity", "ppv", "npv")
CALIBRATION = ("ece_before", "ece_after", "brier_before", "brier_after")
MAP_NUMBERS = ("deletion", "random", "gap", "share_of_gaps_above_0", "randomised")
BINS = 15  # of the reliability diagram, as in pneumo.evaluation.calibration


class Number(NamedTuple):
    """A number of one trial by its place in a table, with its interval; NaN if unknown."""

    table: str  # point, calibration or subgroups
    column: str
    value: float
    low: float = float("nan")
    high: float = float("nan")


@dataclass(frozen=True)
class Assessment:
    """The assessment of one trial on its test split, at the best epoch."""

    numbers: list[Number]
    threshold: float
    before: Array  # (bins, 3): images, mean probability, share of PNEUMONIA
    after: Array  # (bins, 3), or (0, 3) without a temperature
    benefit: Array  # (thresholds, 3): threshold, net benefit, that of treating everyone
    why_not: str  # why there is no temperature; "" if there is one
    warning: str  # on intervals of few patients


def read(run: Run) -> dict[str, Any]:
    """Returns the keys assessed (an Assessment, or None if unknown) and maps of a run.

    Intervals of an earlier method are computed again from the run's tables.
    """
    try:
        assessed = _assessment(run.assessment)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # missing or malformed
        assessed = None
    return {"assessed": assessed, "maps": run_folder.read_maps(run.run_dir, checkpoint="best")}


def known_assessments(cell: Cell) -> list[Assessment]:
    """Returns the known assessments of the trials."""
    assessed = (trial.metrics.get("assessed") for trial in cell.trials)
    return [value for value in assessed if isinstance(value, Assessment)]


def tables(group: Group) -> dict[str, Table]:
    """Returns the tables point, calibration, subgroups and maps."""
    rows = defaultdict(list)
    for cell in group.cells:
        by_table: dict[str, dict[str, list[Number]]] = {}
        for each in (row for value in known_assessments(cell) for row in value.numbers):
            by_table.setdefault(each.table, {}).setdefault(each.column, []).append(each)
        for table, columns in by_table.items():
            row: dict[str, Any] = {"network": cell.label}
            rows[table].append(row | {key: _cell(same) for key, same in columns.items()})
    maps = [row for trial in group.trials for row in _maps(trial)]
    named = ("trial", "method", "class")
    names = dict.fromkeys(key for row in rows["subgroups"] for key in row)
    subgroups = [dict.fromkeys(names, "") | row for row in rows["subgroups"]]
    return {
        "point": titled(rows["point"], "network", "threshold", *SCORES),
        "calibration": titled(rows["calibration"], "network", "temperature", *CALIBRATION),
        "subgroups": titled(subgroups, *names),
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


def _assessment(written: Any) -> Assessment:
    """Returns an assessment of pneumo.evaluation.assessment; malformed ones raise any error."""
    point, calibration = written["operating_point"], written["calibration"]
    own = written["net_benefit"]["at"]
    after = calibration["after"] or {"reliability": []}
    bins = ("images", "probability", "observed")
    return Assessment(
        list(_numbers(written)),
        number(point, "threshold"),
        before=_array(calibration["before"]["reliability"], bins),
        after=_array(after["reliability"], bins),
        benefit=_array(own, ("threshold", "network", "treat_all")),
        why_not=str(calibration.get("why_not") or ""),
        warning=str(written["interval"]["warning"] or ""),
    )


def _numbers(written: Any) -> Iterator[Number]:
    point, calibration = written["operating_point"], written["calibration"]
    yield Number("point", "threshold", number(point, "threshold"))
    for name in SCORES:
        yield Number("point", name, *_ends(point[name]))
    yield Number("calibration", "temperature", number(calibration, "temperature"))
    for name in CALIBRATION:
        score, _, state = name.partition("_")
        yield Number("calibration", name, number(calibration[state], score))
    for row in written["subgroups"]:
        yield Number("subgroups", f"{row['by']} {row['group']}", *_ends(row.get("auroc")))


def _ends(row: Any) -> Iterator[float]:
    return (number(row, key) for key in ("value", "low", "high"))


def _array(rows: Any, names: Sequence[str]) -> Array:
    return np.array([[number(row, key) for key in names] for row in rows]).reshape(-1, len(names))


def _cell(values: Sequence[Number]) -> tuple[str, str]:
    """Returns a number and the line below it: one trial's interval, or the range of several."""
    if len(values) == 1:
        ends = interval(values[0].low, values[0].high)
        return decimal(values[0].value), "" if ends == DASH else ends
    over = spread([value.value for value in values])
    same = over.n < 2 or over.low == over.high
    return decimal(over.median), "" if same else interval(over.low, over.high)


def _maps(trial: Trial) -> list[Row]:
    return [
        {"network": trial.model, "trial": split_name(trial.split), "method": row["method"]}
        | {"class": row["class"], "images": f"{number(row['mean'], 'images'):.0f}"}
        | {key: decimal(number(row["mean"], key)) for key in MAP_NUMBERS}
        for row in trial.metrics.get("maps") or []
    ]
