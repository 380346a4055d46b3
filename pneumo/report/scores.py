"""The rows of runs.csv and summary.csv, and the figures of the paper."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from pneumo.data.sets import class_of
from pneumo.evaluation import published
from pneumo.report.groups import Group
from pneumo.report.trials import NAN, PLACE, Problem, Spread, Trial

CONFUSIONS = (
    *("normal_as_normal", "normal_as_pneumonia"),
    *("pneumonia_as_normal", "pneumonia_as_pneumonia"),
)
ABOUT = ["group", "kind", "data", "protocol", "network", "model", "runs"]  # of each network
SIZES = {"parameters": published.TINY_PARAMETERS, "multiply_adds": published.TINY_MULTIPLY_ADDS}


def summary_rows(groups: Sequence[Group]) -> pd.DataFrame:
    """Returns the spread over trials by network, checkpoint, split and score, with the paper's."""
    cells = (
        (cell, (g.slug, g.kind, g.set_name, g.protocol, cell.label, cell.model, len(cell.trials)))
        for g in groups
        for cell in g.rows
    )
    spreads = [
        (*about, *at, *spread) for cell, about in cells for at, spread in cell.spreads.items()
    ]
    rows = pd.DataFrame(spreads, columns=[*ABOUT, *PLACE, *Spread._fields])
    is_test = (rows["checkpoint"] == "best") & (rows["split"] == "test")
    is_papers = rows["kind"].map(lambda kind: class_of(kind).published)
    is_published = is_papers & (is_test | (rows["split"] == ""))
    shown = zip(rows["model"], rows["score"], is_published, strict=True)
    rows["paper_median"] = [paper_figure(*place) if is_known else NAN for *place, is_known in shown]
    rows["median_minus_paper"] = rows["median"] - rows["paper_median"]
    tiny = is_papers & is_test & (rows["model"] == "tiny") & (rows["score"] == "accuracy")
    rows["paper_mean"] = np.where(tiny, published.TINY_MEAN_ACCURACY, NAN)
    rows["paper_sd"] = np.where(tiny, published.TINY_SD_ACCURACY, NAN)
    rows = rows.drop(columns=["kind", "model", "trials", "lower", "upper"])
    return rows.rename(columns={"checkpoint": "epoch"})


def run_rows(groups: Sequence[Group], problems: Iterable[Problem]) -> pd.DataFrame:
    """Returns a row for each run, with its scores at both checkpoints; then the runs left out.

    Scores are in [0, 1]; `_low` and `_high` are the 95 % interval over patients.
    """
    rows = [
        {"run": trial.name, "state": "done", "reason": "; ".join(trial.remarks)}
        | {"group": group.slug, "network": cell.label, "model": trial.model}
        | _run_row(trial)
        | {"data": group.set_name}
        for group in groups
        for cell in group.cells
        for trial in cell.trials
    ]
    left_out = [{"run": problem.name} | asdict(problem) for problem in problems]
    return pd.DataFrame(rows + left_out).drop(columns="name", errors="ignore")


def paper_figure(model: str, name: str) -> float:
    """Returns the paper's figure of a network: a median on the test split, or a size; else NaN."""
    if model == "tiny" and name in published.TINY | SIZES:
        return float((published.TINY | SIZES)[name])
    return published.ALL_F1 if model in published.NETWORKS and name == "f1_normal" else NAN


def _run_row(trial: Trial) -> dict[str, Any]:
    metrics, data = trial.metrics, trial.metrics["data"]
    row: dict[str, Any] = {"seed": trial.split[0], "fold": trial.split[1]}
    row |= {"protocol": metrics["protocol"], "data": ""}
    row |= {key: data.get(key) for key in ("images", "patients")}
    row |= {f"test_{what}": trial.count("test", what) for what in ("images", "patients")}
    row |= {key: metrics.get(key) for key in ("batch_norm", "num_classes")}
    row |= {key: trial.settings.get(key) for key in ("chosen_on", "chosen_by")}
    row["epochs"] = len(metrics.get("history") or []) or None
    row |= {key: data.get(key) for key in ("split_sha256", "index_sha256")}
    row |= {"git_commit": metrics.get("git_commit"), "device": trial.device}
    for *place, value, low, high in trial.rows():
        name = "_".join(filter(None, place))
        row[name] = value
        if low == low:
            row |= {f"{name}_low": low, f"{name}_high": high}
    for when in ("best", "last"):
        if counts := (metrics[when].get("test") or {}).get("confusion"):
            names = (f"{when}_test_{name}" for name in CONFUSIONS)
            row |= dict(zip(names, np.ravel(counts), strict=True))
    return row
