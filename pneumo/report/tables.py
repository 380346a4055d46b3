"""The tables of a group: its scores, sizes, settings and differences, and their worth."""

from collections.abc import Mapping, Sequence
from math import isnan
from typing import Any

import pandas as pd

from pneumo.cli import counted
from pneumo.evaluation import published
from pneumo.report.comparisons import best_margins
from pneumo.report.groups import Cell, Group
from pneumo.report.pareto import COSTS, fronts
from pneumo.report.reading import AT_POINT
from pneumo.report.scores import paper_figure
from pneumo.report.settings import short, varying_keys
from pneumo.report.table import Row, Table, titled
from pneumo.report.trials import number, split_name, tuples
from pneumo.report.wording import (
    DASH,
    count,
    decimal,
    duration,
    interval,
    mean_and_error,
    mean_and_sd,
    p_value,
)

ON_PAGE = ("f1_normal", "auroc", "accuracy", "precision_normal", "recall_normal")  # and in CSV: all
CALIBRATION = ("temperature", "ece_before", "ece_after", "brier_before", "brier_after")
MAP_NUMBERS = ("deletion", "random", "gap", "share_of_gaps_above_0", "randomised")
STRESSED = ("auroc", "sensitivity", "specificity", "ece")
OF_NETWORK = ("model.batch_norm", "model.num_classes")  # not its architecture


def tables(group: Group, differences: pd.DataFrame) -> dict[str, Table]:
    """Returns the tables of a group by name, in the order of the page.

    A table without rows is false. Comparisons are those with the network of most trials, and with
    the best baseline; comparisons.csv has the others.
    """
    most = max(group.networks, key=lambda cell: len(cell.trials), default=None)
    margins = {row.what for row in best_margins(differences).values()}
    kind, what = differences["kind"], differences["what"]
    label = most.label if most else ""
    with_most = (differences["first"] == label) | (differences["second"] == label)
    subgroups = dict.fromkeys(
        split.removeprefix("test_")
        for cell in group.cells
        for _, split, _ in cell.spreads
        if split.startswith("test_")
    )
    return {
        "scores": titled([r for c in group.rows for r in _scores(group, c)], "network", *ON_PAGE),
        "point": _over_trials(group, "threshold", *AT_POINT),
        "calibration": _over_trials(group, *CALIBRATION),
        "subgroups": _over_trials(group, *subgroups, is_split=True),
        "margins": _differences(differences[(kind == "margin") & what.isin(margins)]),
        "differences": _differences(differences[(kind == "networks") & with_most]),
        "optimism": _differences(differences[kind == "optimism"]),
        "sizes": _sizes(group),
        "recipes": _recipes(group),
        "maps": _maps(group),
        "stress": _stress(group.networks),
    }


def _scores(group: Group, cell: Cell) -> list[Row]:
    """The row of a network, and for tiny the paper's row below it."""
    runs = f"{len(cell.trials)} of {counted(len(cell.trials) + len(cell.missing), 'run')}"
    runs = counted(len(cell.trials), "seed") if cell.is_ensemble else runs
    row: dict[str, Any] = {"kind": "ours", "network": (cell.label, runs)}
    row |= {name: cell.spread(name).cell for name in ON_PAGE}
    if not group.data_set.published or cell.model != "tiny":
        return [row]
    where = "" if group.protocol == "paper" else ", on random splits"
    paper: dict[str, Any] = {"kind": "paper", "network": (f"the paper's tiny{where}", "5 runs")}
    paper |= {name: decimal(paper_figure(cell.model, name)) for name in ON_PAGE}
    sd = mean_and_sd(published.TINY_MEAN_ACCURACY, published.TINY_SD_ACCURACY)
    return [row | {"joined": "yes"}, paper | {"accuracy": (paper["accuracy"], sd)}]


def _over_trials(group: Group, *columns: str, is_split: bool = False) -> Table:
    """A row for each network, a column for each score, or each part of the test split."""
    rows: list[dict[str, Any]] = []
    for cell in group.cells:
        of_column = {
            key: cell.spread("auroc", split=f"test_{key}") if is_split else cell.spread(key)
            for key in columns
        }
        if any(spread.trials for spread in of_column.values()):
            cells = {key: s.cell if s.trials else "" for key, s in of_column.items()}
            rows.append({"network": cell.label} | cells)
    return titled(rows, "network", *columns)


def _sizes(group: Group) -> Table:
    on_front = fronts(group)
    rows: list[Row] = []
    for cell in group.rows:
        train, test, train_last, last = (
            cell.spread("f1_normal", split=split, when=when).median
            for when in ("best", "last")
            for split in (cell.train_split, "test")
        )
        parameters, rate = cell.size("parameters").median, cell.size("images_per_second").median
        epoch = cell.size("best_epoch")
        ends = interval(epoch.low, epoch.high, digits=0)
        rows.append(
            {
                "network": cell.label,
                "parameters": DASH if isnan(parameters) else f"{parameters:,.0f}",
                "multiply_adds": count(cell.size("multiply_adds").median),
                "rate": f"{rate:,.1f}" if rate > 0 else DASH,
                "front": ", ".join(COSTS[k][0] for k, on in on_front.items() if cell in on),
                "seconds": duration(cell.size("seconds_total").median),
                "epoch": ends if epoch.low < epoch.high else decimal(epoch.median, digits=0),
                "train": decimal(train),
                "train_minus_test": decimal(train - test, sign=True),
                "train_last": DASH if cell.is_baseline else decimal(train_last),
                "last": DASH if cell.is_baseline else decimal(last),
            }
        )
    keys = ("network", "parameters", "multiply_adds", "rate", "front", "seconds", "epoch")
    return titled(rows, *keys, "train", "train_minus_test", "train_last", "last", texts=("front",))


def _recipes(group: Group) -> Table:
    """A row for each setting that differs among the networks, with the value of each.

    A network with several settings is shown with its first; architectures are left out.
    """
    firsts = {cell.name: cell.settings for cell in reversed(group.networks)}
    shown = {
        name: {k: v for k, v in of.items() if not k.startswith("model.") or k in OF_NETWORK}
        for name, of in reversed(firsts.items())
    }
    rows: list[Row] = [
        {"setting": key} | {name: _setting(key, of) for name, of in shown.items()}
        for key in varying_keys(list(shown.values()))
    ]
    return Table({"setting": "Setting"} | {name: name for name in shown}, rows)


def _setting(key: str, settings: Mapping[str, Any]) -> str:
    text = short(settings.get(key))
    return DASH if text.lower() == "none" else text.split(".")[-1] if "_target_" in key else text


def _maps(group: Group) -> Table:
    named = ("trial", "method", "class")
    rows: list[Row] = [
        {"network": trial.model, "trial": split_name(trial.split), "method": row["method"]}
        | {"class": row["class"], "images": f"{number(row['mean'], 'images'):.0f}"}
        | {key: decimal(number(row["mean"], key)) for key in MAP_NUMBERS}
        for trial in group.trials
        for row in trial.metrics.get("maps") or []
    ]
    return titled(rows, "network", *named, "images", *MAP_NUMBERS, texts=named)


def _stress(cells: Sequence[Cell]) -> Table:
    """Returns a row for each recipe and split: means over runs, and standard errors of the drop."""
    rows: list[dict[str, Any]] = []
    for cell in cells:
        for split in ("val", "test"):
            drop = cell.spread("drop", split=f"stress_{split}")
            if not drop.trials:
                continue
            row: dict[str, Any] = {"network": (cell.label, counted(drop.trials, "run"))}
            row |= {"split": split, "drop": mean_and_error(drop.mean, drop.sd, drop.n)}
            for name in STRESSED:
                clean, stressed = (
                    decimal(cell.spread(name, split=f"stress_{split}_{when}").mean)
                    for when in ("clean", "stressed")
                )
                row[name] = clean, f"to {stressed}"
            rows.append(row)
    return titled(rows, "network", "split", "drop", *STRESSED)


def _differences(differences: pd.DataFrame) -> Table:
    """A row for each pair, over its trials or else the patients of the first, by score."""
    scores = dict.fromkeys(differences["score"])
    rows: dict[str, dict[str, Any]] = {}
    for each in tuples(differences.drop_duplicates(["what", "score"])):
        row = {"pair": each.what, **dict.fromkeys(scores, DASH), "over": each.over}
        rows.setdefault(str(each.what), row)[str(each.score)] = _difference(each)
    return titled(list(rows.values()), "pair", *scores, "over", texts=("over",))


def _difference(row: Any) -> tuple[str, str]:
    """A difference, and below it interval and p."""
    withheld = f"withheld: {row.trials} trials are too few" if row.trials > 1 else ""
    ends = interval(row.low, row.high, sign=True, unknown=withheld)
    ps = {"p": row.p, "Holm": row.p_holm}
    p_values = ", ".join(f"{name} {p_value(p)}" for name, p in ps.items() if not isnan(p))
    return decimal(row.difference, sign=True), "\n".join(x for x in (ends, p_values) if x)
