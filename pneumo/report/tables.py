"""The tables of a group: its scores, sizes, differences, and the paper's claims."""

from collections.abc import Mapping, Sequence
from itertools import product
from math import isnan
from typing import Any

import numpy as np
import pandas as pd

from pneumo.cli import counted
from pneumo.evaluation import published
from pneumo.evaluation.paired import FEWEST_PAIRS
from pneumo.report.comparisons import best_margins
from pneumo.report.groups import DEBUG, Cell, Group
from pneumo.report.reading import AT_POINT
from pneumo.report.scores import paper_figure
from pneumo.report.table import Row, Table, titled
from pneumo.report.trials import number, split_name, tuples
from pneumo.report.wording import (
    DASH,
    PLUS_MINUS,
    count,
    decimal,
    duration,
    interval,
    mean_and_error,
    p_value,
)

ON_PAGE = ("f1_normal", "auroc", "accuracy", "precision_normal", "recall_normal")  # and in CSV: all
CALIBRATION = ("temperature", "ece_before", "ece_after", "brier_before", "brier_after")
MAP_NUMBERS = ("deletion", "random", "gap", "share_of_gaps_above_0", "randomised")
STRESSED = ("auroc", "sensitivity", "specificity", "ece")
CLAIMED = ("claim", "claimed", "on", "ours", "comparable")
MIN_NETWORKS = 3  # for a Pareto front to be informative
COSTS = {  # by name of the size: title, and 1 if less is better, -1 if more is
    "parameters": ("parameters", 1.0),
    "multiply_adds": ("multiply-adds", 1.0),
    "images_per_second": ("images/s", -1.0),
}


def tables(group: Group, differences: pd.DataFrame) -> dict[str, Table]:
    """Returns the tables of a group by name, in the order of the page.

    A table without rows is false. Comparisons are those with the network of most trials, and with
    the best baseline; comparisons.csv has the others.
    """
    most = max(group.networks, key=lambda cell: len(cell.trials), default=None)
    margins = {row.what for row in best_margins(differences).values()}
    kind, what = differences["kind"], differences["what"]
    with_most = differences[["first", "second"]].isin([most.label if most else ""]).any(axis=1)
    places = (place for cell in group.cells for place in cell.spreads)
    splits = dict.fromkeys(split for _, split, _ in places if split.startswith("test_"))
    return {
        "scores": titled([r for c in group.rows for r in _scores(group, c)], "network", *ON_PAGE),
        "point": _over_trials(group, {name: ("test", name) for name in ("threshold", *AT_POINT)}),
        "calibration": _over_trials(group, {name: ("test", name) for name in CALIBRATION}),
        "subgroups": _over_trials(group, {split[5:]: (split, "auroc") for split in splits}),
        "margins": _differences(differences[(kind == "margin") & what.isin(margins)]),
        "differences": _differences(differences[(kind == "networks") & with_most]),
        "optimism": _differences(differences[kind == "optimism"]),
        "sizes": _sizes(group),
        "maps": _maps(group),
        "stress": stress_table(group.networks),
    }


def _scores(group: Group, cell: Cell) -> list[Row]:
    """The row of a network, and below the last tiny the paper's."""
    runs = counted(len(cell.trials), "seed" if cell.is_ensemble else "run")
    row: dict[str, Any] = {"kind": "ours", "network": (cell.label, runs)}
    row |= {name: cell.spread(name).cell for name in ON_PAGE}
    last = [each for each in group.rows if each.model == "tiny"][-1:]
    if not group.data_set.published or cell not in last:
        return [row]
    where = "" if group.protocol == "paper" else ", on random splits"
    paper: dict[str, Any] = {"kind": "paper", "network": (f"the paper's tiny{where}", "5 runs")}
    paper |= {name: decimal(paper_figure(cell.model, name)) for name in ON_PAGE}
    mean, sd = (decimal(x) for x in (published.TINY_MEAN_ACCURACY, published.TINY_SD_ACCURACY))
    paper["accuracy"] = paper["accuracy"], f"{mean} {PLUS_MINUS} {sd}"
    return [row | {"joined": "yes"}, paper]


def _over_trials(group: Group, columns: Mapping[str, tuple[str, str]]) -> Table:
    """A row for each network; ``columns``: split and score of each."""
    rows: list[Row] = []
    for cell in group.cells:
        values = {
            key: cell.spreads["best", split, score].cell
            for key, (split, score) in columns.items()
            if ("best", split, score) in cell.spreads
        }
        if values:
            rows.append({"network": cell.label, **dict.fromkeys(columns, ""), **values})
    return titled(rows, "network", *columns)


def _sizes(group: Group) -> Table:
    on_front = fronts(group)
    rows: list[Row] = []
    for cell in group.rows:
        size = {key: cell.size(key).median for key in (*COSTS, "seconds_total")}
        train, test, train_last, last = (
            cell.spread("f1_normal", split=split, when=when).median
            for when in ("best", "last")
            for split in (cell.train_split, "test")
        )
        epoch = cell.size("best_epoch")
        ends = interval(epoch.low, epoch.high, digits=0)
        rows.append(
            {
                "network": cell.label,
                "parameters": DASH if isnan(size["parameters"]) else f"{size['parameters']:,.0f}",
                "multiply_adds": count(size["multiply_adds"]),
                "rate": decimal(size["images_per_second"], digits=1),
                "front": ", ".join(COSTS[k][0] for k, on in on_front.items() if cell in on),
                "seconds": duration(size["seconds_total"]),
                "epoch": ends if epoch.low < epoch.high else decimal(epoch.median, digits=0),
                "train": decimal(train),
                "train_minus_test": decimal(train - test, sign=True),
                "train_last": DASH if cell.is_baseline else decimal(train_last),
                "last": DASH if cell.is_baseline else decimal(last),
            }
        )
    return titled(rows, *(rows[0] if rows else ()), texts=("front",))


def _maps(group: Group) -> Table:
    named = ("trial", "method", "class")
    rows: list[Row] = [
        {"network": trial.model, "trial": split_name(trial.split), "method": row["method"]}
        | {"class": row["class"], "images": f"{number(row['mean'], 'images'):.0f}"}
        | {key: decimal(number(row["mean"], key)) for key in MAP_NUMBERS}
        for trial in group.trials
        for row in trial.maps
    ]
    return titled(rows, "network", *named, "images", *MAP_NUMBERS, texts=named)


def stress_table(cells: Sequence[Cell], *, shown: Sequence[str] = STRESSED) -> Table:
    """Returns a row for each recipe and split: means over runs, and standard errors of the drop."""
    rows: list[Row] = []
    for cell, split in product(cells, ("val", "test")):
        drop = cell.spread("drop", split=f"stress_{split}")
        if drop.trials:
            name = cell.label, counted(drop.trials, "run")
            row: dict[str, Any] = {"network": name, "split": split}
            row["drop"] = mean_and_error(drop.mean, drop.sd, drop.n)
            for score in shown:
                clean, stressed = (
                    decimal(cell.spread(score, split=f"stress_{split}_{when}").mean)
                    for when in ("clean", "stressed")
                )
                row[score] = clean, f"to {stressed}"
            rows.append(row)
    return titled(rows, "network", "split", "drop", *shown)


def _differences(differences: pd.DataFrame) -> Table:
    """A row for each pair, over its trials or else the patients of the first, by score."""
    scores = dict.fromkeys(differences["score"])
    rows: dict[str, dict[str, Any]] = {}
    for each in tuples(differences.drop_duplicates(["what", "score"])):
        row = {"pair": each.what, **dict.fromkeys(scores, DASH), "over": each.over}
        below = [interval(each.low, each.high, sign=True, unknown=_withheld(each.trials, each.p))]
        ps = {"p": each.p, "Holm": each.p_holm}
        below.append(", ".join(f"{name} {p_value(p)}" for name, p in ps.items() if not isnan(p)))
        cell = decimal(each.difference, sign=True), "\n".join(filter(None, below))
        rows.setdefault(each.what, row)[each.score] = cell
    return titled(list(rows.values()), "pair", *scores, "over", texts=("over",))


def _withheld(num_trials: int, p: float) -> str:
    if num_trials < FEWEST_PAIRS:
        return f"withheld: {num_trials} trials are too few" if num_trials > 1 else ""
    return "withheld: equal differences" if isnan(p) else "withheld: wider than 1"


def competing(group: Group) -> list[Cell]:
    """Returns the networks and ensembles with an accuracy; baselines have no comparable size."""
    return [c for c in (*group.networks, *group.ensembles) if c.spread("accuracy").n]


def costs(group: Group) -> list[str]:
    """Returns the comparable keys of COSTS: speed only if all were timed on one device."""
    keys = [key for key in COSTS if len(group.devices) == 1 or key != "images_per_second"]
    return [key for key in keys if any(cell.size(key).n for cell in competing(group))]


def fronts(group: Group) -> dict[str, list[Cell]]:
    """Returns by cost the networks that no other matches in accuracy at as little of it.

    Sorted by accuracy; {} for fewer than MIN_NETWORKS networks.
    """
    # rounded, since networks write float32 and ensembles are computed in float64
    pairs = [(round(cell.spread("accuracy").median, 6), cell) for cell in competing(group)]
    pairs.sort(key=lambda pair: pair[0])
    score = [accuracy for accuracy, _ in pairs]
    on_front = {}
    for key in costs(group) if len(pairs) >= MIN_NETWORKS else ():
        is_on = front([COSTS[key][1] * cell.size(key).median for _, cell in pairs], score)
        on_front[key] = [cell for (_, cell), on in zip(pairs, is_on, strict=True) if on]
    return on_front


def front(cost: Sequence[float], score: Sequence[float]) -> list[bool]:
    """Returns whether each point is on the front: no other costs less and scores at least as much.

    A point with a NaN is on no front, and beats none.

    >>> front([1, 2, 3, 4], [0.8, 0.9, 0.85, 0.9])
    [True, True, False, False]
    """
    c, s = np.asarray(cost, dtype=np.float64), np.asarray(score, dtype=np.float64)
    no_worse = (c[None] <= c[:, None]) & (s[None] >= s[:, None])
    better = (c[None] < c[:, None]) | (s[None] > s[:, None])
    return (np.isfinite(c) & np.isfinite(s) & ~(no_worse & better).any(1)).tolist()  # type: ignore[no-any-return]


def claim_table(groups: Sequence[Group]) -> Table:
    """Returns a row for each row of the paper's table.

    Empty without runs on the set's images, or with the paper's own networks only: then it repeats
    the scores.
    """
    real = [group for group in groups if group.data_set.published and group.protocol != DEBUG]
    only_papers = all(c.model in published.NETWORKS for group in real for c in group.rows)
    rows: list[Row] = [
        {
            "claim": (claim.name, claim.networks),
            "claimed": claim.claimed or DASH,
            "on": claim.on,
            "ours": "\n".join(filter(None, (_ours(claim, g) for g in real))) or claim.not_run,
            "comparable": f"{claim.comparable[:1].upper()}{claim.comparable[1:]}. {claim.why}",
        }
        for claim in published.CLAIMS
    ]
    return titled([] if only_papers else rows, *CLAIMED, texts=CLAIMED[1:])


def _ours(claim: published.Claim, group: Group) -> str:
    """A line for each of the claim's networks, and ensembles of them only; "" without any."""
    lines, is_optimistic = [], False
    for cell in group.rows:
        models = {name for trial in cell.trials for name in trial.members} or {cell.model}
        if models <= set(claim.models):
            text, ends = cell.spread("accuracy").cell
            parts = [f"{cell.label}: {text}" + f" ({ends})" * bool(ends)]
            parts.append(counted(len(cell.trials), "seed"))
            if "model.pretrained" in cell.settings:
                is_pretrained = cell.settings["model.pretrained"]
                parts.append("pretrained" if is_pretrained else "random weights")
            lines.append(", ".join(parts))
            is_optimistic |= cell.chosen_on == "test"
    why = " (optimistic: epoch chosen on the test split)" * is_optimistic
    listed = ";\n".join(lines)
    return f"{group.protocol} protocol{why}:\n{listed}." if lines else ""
