"""The tables of a group: its scores, sizes and differences."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from math import isnan
from typing import Any

from pneumo.cli import counted
from pneumo.evaluation import published
from pneumo.report import assessments, stress
from pneumo.report.comparisons import Difference, best_margins
from pneumo.report.groups import Cell, Group
from pneumo.report.pareto import COSTS, fronts
from pneumo.report.recipes import recipes
from pneumo.report.scores import Intervals, paper_figure, size
from pneumo.report.table import Row, Table, titled
from pneumo.report.wording import DASH, count, decimal, duration, interval, mean_and_sd, p_value

ON_PAGE = ("f1_normal", "auroc", "accuracy", "precision_normal", "recall_normal")  # and in CSV: all


def tables(
    group: Group, differences: Sequence[Difference], intervals: Intervals
) -> dict[str, Table]:
    """Returns the tables of a group by name; a table without rows is false.

    Comparisons are those with the first network; comparisons.csv has the others.
    """
    by_kind = defaultdict(list)
    for row in differences:
        by_kind[row.kind].append(row)
    best = max(group.networks, key=lambda cell: len(cell.trials), default=None)
    for kind in ("networks", "images"):
        by_kind[kind] = [r for r in by_kind[kind] if best and best.label in (r.first, r.second)]
    first_trials = {row.what: row.over for row in reversed(by_kind["images"])}
    images = [row for row in by_kind["images"] if row.over == first_trials[row.what]]
    scores = [row for cell in group.rows for row in _score_rows(group, cell, intervals)]
    return {
        "scores": titled(scores, "network", *ON_PAGE),
        "recipes": recipes(group),
        "sizes": _sizes(group),
        "optimism": _differences(by_kind["optimism"]),
        "margins": _differences(_margins(differences)),
        "differences": _differences(by_kind["networks"]),
        "paired": _differences(images),
        **assessments.tables(group),
        "stress": stress.table(group),
    }


def _score_rows(group: Group, cell: Cell, intervals: Intervals) -> list[Row]:
    """The row of a network, and for tiny the paper's row below it."""
    num_planned = len(cell.trials) + len(cell.missing)
    runs = f"{len(cell.trials)} of {counted(num_planned, 'run')}"
    runs = counted(len(cell.trials), "seed") if cell.is_ensemble else runs
    ends = intervals.get(cell.trials[0].name, {}) if len(cell.trials) == 1 else {}
    row: dict[str, Any] = {"kind": "ours", "network": (cell.label, runs)}
    gaps = {}
    for name in ON_PAGE:
        value = cell.spread(name)
        some = f" (n = {value.n})" if 0 < value.n < len(cell.trials) else ""
        below = interval(*ends[name]) if name in ends else ""
        if value.low < value.high:
            below = interval(value.low, value.high)
        row[name] = (decimal(value.median) + some, below)
        gaps[name] = decimal(value.median - paper_figure(cell, name), sign=True)
    if group.data_set.generated:
        return [row]
    if cell.model == "tiny":
        return [row | {"joined": "yes"}, _paper_row(group, cell, gaps)]
    if not isnan(paper_figure(cell, "f1_normal")):
        text, below = row["f1_normal"]
        about = f"paper about {decimal(published.ALL_F1, digits=2)}\nours {gaps['f1_normal']}"
        row["f1_normal"] = (text, f"{below}\n{about}".lstrip())
    return [row]


def _paper_row(group: Group, cell: Cell, gaps: Mapping[str, str]) -> Row:
    where = "" if group.protocol == "paper" else ", on random splits"
    row: dict[str, Any] = {"kind": "paper", "network": (f"the paper's tiny{where}", "5 of 5 runs")}
    for name, gap in gaps.items():
        lines = [] if gap == DASH else [f"ours {gap}"]
        if name == "accuracy":
            spread = mean_and_sd(published.TINY_MEAN_ACCURACY, published.TINY_SD_ACCURACY)
            lines.insert(0, spread)
        row[name] = (decimal(paper_figure(cell, name)), "\n".join(lines))
    return row


def _sizes(group: Group) -> Table:
    on_front = fronts(group)
    rows = []
    for cell in (cell for cell in group.rows if cell.trials):
        train, test, train_last, last = (
            cell.spread("f1_normal", split=split, when=when).median
            for when in ("best", "last")
            for split in (cell.train_split, "test")
        )
        sizes = {name: size(cell, name) for name in ("parameters", "best_epoch")}
        num_parameters, epoch = sizes["parameters"], sizes["best_epoch"]
        rate = size(cell, "images_per_second").median
        costs = [COSTS[key][0] for key, on in on_front.items() if any(cell is c for c in on)]
        rows.append(
            {
                "network": cell.label,
                "parameters": f"{num_parameters.median:,.0f}" if num_parameters.n else DASH,
                "multiply_adds": count(size(cell, "multiply_adds").median),
                "rate": f"{rate:,.1f}" if rate > 0 else DASH,
                "front": ", ".join(costs),
                "seconds": duration(size(cell, "seconds_total").median),
                "epoch": f"{epoch.low:.0f}"
                if epoch.low == epoch.high
                else interval(epoch.low, epoch.high, digits=0),
                "train": decimal(train),
                "train_minus_test": decimal(train - test, sign=True),
                "train_last": DASH if cell.is_baseline else decimal(train_last),
                "last": DASH if cell.is_baseline else decimal(last),
            }
        )
    keys = ("network", "parameters", "multiply_adds", "rate", "front", "seconds", "epoch")
    return titled(rows, *keys, "train", "train_minus_test", "train_last", "last", texts=("front",))


def _margins(differences: Sequence[Difference]) -> list[Difference]:
    """The margins of each network over the best baseline."""
    best = best_margins(differences)
    return [
        row
        for row in differences
        if row.kind == "margin"
        and row.second == best[row.first].second
        and (row.trials, row.over) == (best[row.first].trials, best[row.first].over)
    ]


def _differences(differences: Sequence[Difference]) -> Table:
    """A row for each pair and for what its intervals cover, a column for each score."""
    scores = dict.fromkeys(row.score for row in differences)
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for each in differences:
        if each.trials:
            over = each.over or counted(each.trials, "trial")
            row = {"pair": each.what, **dict.fromkeys(scores, DASH), "over": over}
            row["called_differently"] = f"{each.num_disagreements:,} images"
            rows.setdefault((each.what, over), row)[each.score] = _difference(each)
    extra = ["called_differently"] if any(row.kind == "images" for row in differences) else []
    return titled(list(rows.values()), "pair", *scores, "over", *extra, texts=("over",))


def _difference(row: Difference) -> tuple[str, str]:
    """A difference, and below it interval and p."""
    ends = interval(row.test.low, row.test.high, sign=True)
    if ends == DASH:
        ends = f"withheld: {row.trials} trials are too few" if row.trials > 1 else ""
    ps = {"p": row.test.p, "Holm": row.p_holm}
    p_values = ", ".join(f"{name} {p_value(p)}" for name, p in ps.items() if not isnan(p))
    below = "\n".join(line for line in (ends, p_values) if line)
    return decimal(row.test.difference, sign=True), below
