"""Every score of every trial as one long table; runs.csv and summary.csv are read off it."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

from pneumo.evaluation import published
from pneumo.evaluation.intervals import UNKNOWN, Interval
from pneumo.evaluation.scores import SCORES
from pneumo.report.groups import Cell, Group
from pneumo.report.trials import Problem, Spread, Trial, number, spread

if TYPE_CHECKING:
    import pandas as pd

Intervals = Mapping[str, Mapping[str, Interval]]  # run's name to score to interval
WRITTEN = (*SCORES, "loss")
SPLITS = ("test", "val", "train", "train_eval")
CONFUSIONS = (
    *("normal_as_normal", "normal_as_pneumonia"),
    *("pneumonia_as_normal", "pneumonia_as_pneumonia"),
)
OF_CELL = ["group", "place", "checkpoint", "split", "score"]  # equal for the trials of a cell
COLUMNS = [*OF_CELL, "network", "run", "model", "protocol", "seed", "fold", "value", "low", "high"]


def long_table(groups: Sequence[Group], intervals: Intervals) -> "pd.DataFrame":
    """Returns a row for each trial, checkpoint, split and score: `COLUMNS`.

    ``place`` is the index of the cell in `Group.rows`; checkpoint is best, last, or "" for sizes;
    value is NaN if undefined; low and high are the 95 % interval over patients, NaN if unknown.
    """
    import pandas as pd

    rows: list[tuple[Any, ...]] = []
    for group in groups:
        for place, cell in enumerate(group.rows):
            for trial in cell.trials:
                about = (cell.label, trial.name, trial.model, group.protocol, *trial.split)
                ends = intervals.get(trial.name, {})
                for (when, split, score), value in _values(cell, trial).items():
                    is_test = (when, split) == ("best", "test")
                    low, high = ends.get(score, UNKNOWN) if is_test else UNKNOWN
                    rows.append((group.slug, place, when, split, score, *about, value, low, high))
    return pd.DataFrame(rows, columns=COLUMNS)


def _values(cell: Cell, trial: Trial) -> dict[tuple[str, str, str], float]:
    """Every score of a trial by checkpoint, split and name, and its sizes."""
    values = {}
    for when, split in product(("best", "last"), SPLITS):
        written = {key for other in cell.trials for key in other.metrics[when].get(split) or ()}
        for name in (name for name in WRITTEN if name in written):
            values[when, split, name] = trial.score(name, split=split, when=when)
    return values | {("", "", name): size for name, size in sizes_of(trial).items()}


def sizes_of(trial: Trial) -> dict[str, float]:
    """Returns parameters, multiply-adds, seconds, images per second, and best epoch (from 1)."""
    seconds = trial.metrics.get("seconds")
    epoch = number(trial.metrics["best"], "epoch") + 1
    return {
        "parameters": number(trial.metrics, "parameters"),
        "multiply_adds": number(trial.metrics, "multiply_adds"),
        "seconds_total": number(seconds, "total"),
        "seconds_train": number(seconds, "train"),
        "images_per_second": trial.images_per_second,
        "best_epoch": float("nan") if trial.is_baseline else epoch,
    }


def size(cell: Cell, name: str) -> Spread:
    """Returns the spread over trials of one of `sizes_of`."""
    return spread([sizes_of(trial)[name] for trial in cell.trials])


def summary_rows(groups: Sequence[Group], table: "pd.DataFrame") -> list[dict[str, Any]]:
    """Returns the spread over trials by network, checkpoint, split and score, with the paper's.

    Networks without a finished run have a row without scores.
    """
    spreads = table.groupby(OF_CELL, sort=False)["value"].agg(
        n="count", median="median", mean="mean", sd="std", low="min", high="max"
    )
    by_cell = dict(iter(spreads.reset_index().groupby(["group", "place"])))
    rows = []
    for group in groups:
        for place, cell in enumerate(group.rows):
            about = {
                "group": group.slug, "data": group.kind, "protocol": group.protocol,
                "network": cell.label, "runs": len(cell.trials), "missing": len(cell.missing),
            }  # fmt: skip
            if not cell.trials:
                rows.append(about)
                continue
            for row in by_cell[group.slug, place].to_dict("records"):
                what = {"epoch": row["checkpoint"] or None, "split": row["split"] or None}
                values = {key: row[key] for key in ("score", *Spread._fields)}
                rows.append(about | what | values | _beside_paper(group, cell, row))
    return rows


def run_rows(
    groups: Sequence[Group], table: "pd.DataFrame", *, problems: Iterable[Problem]
) -> list[dict[str, Any]]:
    """Returns a row for each run, with its scores at both checkpoints; then the runs left out.

    Scores are in [0, 1]; `_low` and `_high` are the 95 % interval over patients.
    """
    scores = table[table["checkpoint"] != ""].groupby("run")
    by_run = {str(run): rows.to_dict("records") for run, rows in scores}
    rows = [
        _run_row(group, cell, trial, by_run.get(trial.name, []))
        for group in groups
        for cell in group.cells
        for trial in cell.trials
    ]
    keys = ("state", "reason", "model", "seed", "fold", "protocol")
    left_out = [{"run": p.name} | {key: getattr(p, key) for key in keys} for p in problems]
    return rows + left_out


def paper_figure(cell: Cell, score: str) -> float:
    """Returns the paper's median of a score on the test split for this network; NaN if unknown."""
    if cell.model == "tiny" and score in published.TINY:
        return published.TINY[score]
    is_papers = cell.model in published.NETWORKS and score == "f1_normal"
    return published.ALL_F1 if is_papers else float("nan")


def _run_row(
    group: Group, cell: Cell, trial: Trial, scores: Sequence[Mapping[Hashable, Any]]
) -> dict[str, Any]:
    metrics, data, sizes = trial.metrics, trial.metrics["data"], sizes_of(trial)
    seed, fold = trial.split
    row: dict[str, Any] = {
        "run": trial.name, "state": "done", "reason": "; ".join(trial.remarks),
        "group": group.slug, "network": cell.label, "model": trial.model, "seed": seed,
        "fold": fold, "protocol": group.protocol, "data": group.kind,
        "images": data.get("images"), "patients": data.get("patients"),
        "test_images": trial.count("test", "images"),
        "test_patients": trial.count("test", "patients"),
        "batch_norm": metrics.get("batch_norm"), "num_classes": metrics.get("num_classes"),
        "chosen_on": cell.settings.get("chosen_on"), "chosen_by": cell.settings.get("chosen_by"),
        "best_epoch": sizes["best_epoch"], "epochs": len(metrics.get("history") or []) or None,
        **{n: sizes[n] for n in ("parameters", "multiply_adds", "seconds_total", "seconds_train")},
    }  # fmt: skip
    for when in ("best", "last"):
        for score in scores:
            if score["checkpoint"] == when and metrics[when].get(score["split"]):
                column = f"{when}_{score['split']}_{score['score']}"
                row[column] = score["value"]
                if score["low"] == score["low"]:
                    row |= {f"{column}_low": score["low"], f"{column}_high": score["high"]}
        row |= _confusion(trial, when)
    row |= {key: data.get(key) for key in ("split_sha256", "index_sha256")}
    row["git_commit"] = metrics.get("git_commit")
    return row | {"device": (metrics.get("machine") or {}).get("device")}


def _confusion(trial: Trial, when: str) -> dict[str, Any]:
    try:
        (a, b), (c, d) = trial.metrics[when]["test"]["confusion"]
    except (KeyError, TypeError, ValueError):
        return {}
    return {f"{when}_test_{name}": n for name, n in zip(CONFUSIONS, (a, b, c, d), strict=True)}


def _beside_paper(group: Group, cell: Cell, row: Mapping[Hashable, Any]) -> dict[str, Any]:
    """The paper's columns of a row of summary.csv."""
    name = row["score"]
    sizes = {"parameters": published.TINY_PARAMETERS, "multiply_adds": published.TINY_MULTIPLY_ADDS}
    if cell.model == "tiny" and name in sizes:
        return {"paper_median": sizes[name], "median_minus_paper": row["median"] - sizes[name]}
    if (row["checkpoint"], row["split"]) != ("best", "test"):
        return {}
    median = paper_figure(cell, name)
    columns = {"paper_median": median}
    if not group.data_set.generated:
        columns["median_minus_paper"] = row["median"] - median
    if cell.model == "tiny" and name == "accuracy":
        columns["paper_mean"] = published.TINY_MEAN_ACCURACY
        columns["paper_sd"] = published.TINY_SD_ACCURACY
    return columns
