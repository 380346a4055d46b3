"""The report's tables: runs.csv, a row a run, and summary.csv, a row a network and score."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pneumo.evaluation import published
from pneumo.evaluation.intervals import Interval
from pneumo.evaluation.metrics import SCORES
from pneumo.evaluation.paired import DIFFERENCES
from pneumo.report.compared import Compared
from pneumo.report.groups import Cell, Group, Spread, spread
from pneumo.report.trials import Problem, Trial, number
from pneumo.runs.output import spreadsheet_safe

Intervals = Mapping[str, Mapping[str, Interval]]  # run's name to score to interval
WRITTEN = (*SCORES, "loss")
SPLITS = ("test", "val", "train", "train_eval")
CONFUSED = (
    "normal_as_normal",
    "normal_as_pneumonia",
    "pneumonia_as_normal",
    "pneumonia_as_pneumonia",
)


def to_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """CSV text with the columns of all rows, in order of appearance; unknown is an empty field."""
    columns = dict.fromkeys(column for row in rows for column in row)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(columns), lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows({key: _field(value) for key, value in row.items()} for row in rows)
    return text.getvalue()


def run_rows(
    groups: Sequence[Group], *, problems: Iterable[Problem], intervals: Intervals
) -> list[dict[str, Any]]:
    """A row a run: what it is, every score at the best and the last epoch, sizes; then the others.

    Scores are in [0, 1]; `_low` and `_high` are the 95 % interval over patients.
    """
    rows = [
        _run_row(group, cell, trial, intervals.get(trial.name, {}))
        for group in groups
        for cell in group.cells
        for trial in cell.trials
    ]
    left_out = [
        {"run": p.name, "state": p.state, "reason": p.reason, "model": p.model, "seed": p.seed,
         "fold": p.fold, "protocol": p.protocol}
        for p in problems
    ]  # fmt: skip
    return rows + left_out


def summary_rows(groups: Sequence[Group]) -> list[dict[str, Any]]:
    """A row a network, epoch, split and score: the spread over trials, and the paper's figure.

    Networks without a finished run have a row that says so.
    """
    rows = []
    for group in groups:
        for cell in group.rows:
            about = {
                "group": group.slug, "data": group.kind, "protocol": group.protocol,
                "network": cell.label, "runs": len(cell.trials), "missing": len(cell.missing),
            }  # fmt: skip
            rows += [about | row for row in _score_rows(group, cell) + _size_rows(cell)]
            if not cell.trials:
                rows.append(about)
    return rows


def comparison_rows(compared: Mapping[str, Compared]) -> list[dict[str, Any]]:
    """A row a difference of two networks, of a network and a baseline, and a way to choose epochs.

    The column over says of what the interval is: of several trials, or of one trial's patients.

    Args:
        compared: of each group, by its slug.
    """
    rows: list[dict[str, Any]] = []
    for slug, found in compared.items():
        rows += [
            {"group": slug, "what": f"{row.first} minus {row.second}", "score": row.score}
            | {"trials": row.pairs, **row.test._asdict(), "p_holm": row.p_holm}
            for row in found.differences
        ]
        rows += [
            {"group": slug, "what": f"{row.network} minus {row.baseline}"}
            | {"score": row.score, "over": row.over, "trials": row.pairs, **row.test._asdict()}
            for row in found.margins
        ]
        rows += [
            {"group": slug, "what": f"{row.first} minus {row.second}", "score": score}
            | {"over": row.over, "trials": 1, "difference": row.found[score]["value"]}
            | {key: row.found[score][key] for key in ("low", "high")}
            for row in found.pairs
            for score in DIFFERENCES
        ]
        rows += [
            {"group": slug, "what": f"{row.label}: {row.how}", "score": row.score}
            | {"trials": row.n, **row.test._asdict()}
            for row in found.optimism
        ]
    return rows


def paper_figure(cell: Cell, score: str) -> float:
    """The paper's median of a score on the test split for this network; NaN if it gives none."""
    if cell.model == "tiny" and score in published.TINY:
        return published.TINY[score]
    known = cell.model in published.NETWORKS and score == "f1_normal"
    return published.ALL_F1 if known else float("nan")


def sizes(cell: Cell) -> dict[str, Spread]:
    """Spreads over trials of parameters, multiply-adds, times, and the epoch chosen (from 1)."""
    seconds = [trial.metrics.get("seconds") for trial in cell.trials]
    return {
        "parameters": spread([number(t.metrics, "parameters") for t in cell.trials]),
        "multiply_adds": spread([number(t.metrics, "multiply_adds") for t in cell.trials]),
        "seconds_total": spread([number(table, "total") for table in seconds]),
        "seconds_train": spread([number(table, "train") for table in seconds]),
        "images_per_second": spread([trial.images_per_second for trial in cell.trials]),
        "best_epoch": spread(
            [number(t.metrics["best"], "epoch") + 1 for t in cell.trials if not t.is_baseline]
        ),
    }


def _run_row(
    group: Group, cell: Cell, trial: Trial, intervals: Mapping[str, Interval]
) -> dict[str, Any]:
    metrics, data = trial.metrics, trial.metrics["data"]
    seed, fold = trial.split
    row: dict[str, Any] = {
        "run": trial.name,
        "state": "done",
        "reason": "; ".join(trial.remarks),
        "group": group.slug,
        "network": cell.label,
        "model": trial.model,
        "seed": seed,
        "fold": fold,
        "protocol": group.protocol,
        "data": group.kind,
        "images": data.get("images"),
        "patients": data.get("patients"),
        "test_images": trial.count("test", "images"),
        "test_patients": trial.count("test", "patients"),
        "batch_norm": metrics.get("batch_norm"),
        "num_classes": metrics.get("num_classes"),
        "chosen_on": cell.settings.get("chosen_on"),
        "chosen_by": cell.settings.get("chosen_by"),
        "best_epoch": None if trial.is_baseline else number(metrics["best"], "epoch") + 1,
        "epochs": len(metrics.get("history") or []) or None,
        "parameters": number(metrics, "parameters"),
        "multiply_adds": number(metrics, "multiply_adds"),
        "seconds_total": number(metrics.get("seconds"), "total"),
        "seconds_train": number(metrics.get("seconds"), "train"),
    }
    for when in ("best", "last"):
        for split in SPLITS:
            for score in WRITTEN if metrics[when].get(split) else ():
                row[f"{when}_{split}_{score}"] = trial.score(when, split, score)
                if (when, split) == ("best", "test") and score in intervals:
                    row[f"best_test_{score}_low"] = intervals[score].low
                    row[f"best_test_{score}_high"] = intervals[score].high
        row |= _confusion_columns(trial, when)
    return (
        row
        | {key: data.get(key) for key in ("split_sha256", "index_sha256")}
        | {
            "git_commit": metrics.get("git_commit"),
            "device": (metrics.get("machine") or {}).get("device"),
        }
    )


def _confusion_columns(trial: Trial, when: str) -> dict[str, Any]:
    table = trial.metrics[when]["test"].get("confusion")
    try:
        (a, b), (c, d) = table
    except (TypeError, ValueError):
        return {}
    return {f"{when}_test_{name}": n for name, n in zip(CONFUSED, (a, b, c, d), strict=True)}


def _score_rows(group: Group, cell: Cell) -> list[dict[str, Any]]:
    rows = []
    for when in ("best", "last"):
        for split in SPLITS:
            if not any(trial.metrics[when].get(split) for trial in cell.trials):
                continue
            for score in WRITTEN:
                values = cell.spread(when, split, score)
                row = {"epoch": when, "split": split, "score": score, **values._asdict()}
                if (when, split) == ("best", "test"):
                    row |= _paper_columns(group, cell, score, values)
                rows.append(row)
    return rows


def _paper_columns(group: Group, cell: Cell, score: str, values: Spread) -> dict[str, Any]:
    median = paper_figure(cell, score)
    own = {"paper_median": median}
    if group.kind != "phantom":
        own["median_minus_paper"] = values.median - median
    if cell.model == "tiny" and score == "accuracy":
        own |= {"paper_mean": published.TINY_MEAN_ACCURACY, "paper_sd": published.TINY_SD_ACCURACY}
    return own


def _size_rows(cell: Cell) -> list[dict[str, Any]]:
    known = {"parameters": published.TINY_PARAMETERS, "multiply_adds": published.TINY_MULTIPLY_ADDS}
    rows = []
    for name, values in sizes(cell).items():
        row: dict[str, Any] = {"score": name, **values._asdict()}
        if cell.model == "tiny" and name in known:
            row |= {"paper_median": known[name], "median_minus_paper": values.median - known[name]}
        rows.append(row)
    return rows if cell.trials else []


def _field(value: Any) -> Any:
    if isinstance(value, float):
        whole = value.is_integer() and abs(value) < 1e15
        return "" if value != value else f"{value:.0f}" if whole else f"{value:.6g}"
    return "" if value is None else spreadsheet_safe(value)
