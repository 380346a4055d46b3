"""The tables of a report: of a group its scores, sizes and differences, and each network's runs."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from math import isnan
from typing import Any

from pneumo.cli import counted
from pneumo.evaluation import published
from pneumo.report import assessments, stress
from pneumo.report.comparisons import Difference, best_margins
from pneumo.report.groups import DEBUG, PROTOCOLS, Cell, Group
from pneumo.report.pareto import COSTS, fronts
from pneumo.report.recipes import recipes
from pneumo.report.scores import Intervals, paper_figure, size
from pneumo.report.table import SCORES, Row, Table, titled
from pneumo.report.trials import Trial, number, split_name
from pneumo.report.wording import DASH, count, decimal, duration, interval, mean_and_sd, p_value

WITH_INTERVAL = ("f1_normal", "auroc", "accuracy", "f1_pneumonia")  # of single runs, on the page


def tables(
    group: Group, differences: Sequence[Difference], intervals: Intervals
) -> dict[str, Table]:
    """Returns the tables of a group by name; a table without rows is false."""
    by_kind = defaultdict(list)
    for row in differences:
        by_kind[row.kind].append(row)
    over_trials, _ = _margins(differences)
    first_trials = {row.what: row.over for row in reversed(by_kind["images"])}
    images = [row for row in by_kind["images"] if row.over == first_trials[row.what]]
    scores = [row for cell in group.rows for row in _score_rows(group, cell, intervals)]
    return {
        "scores": titled(scores, "network", *SCORES),
        "recipes": recipes(group),
        "sizes": _sizes(group),
        "optimism": _differences(by_kind["optimism"]),
        "margins": _differences(over_trials),
        "differences": _differences(by_kind["networks"]),
        "paired": _differences(images),
        **assessments.tables(group),
        "stress": stress.table(group),
    }


def networks(
    group: Group, differences: Sequence[Difference], subgroups: Table, intervals: Intervals
) -> list[dict[str, Any]]:
    """Returns what the page shows of each network: its runs, margins, weights and subgroups."""
    _, within_trials = _margins(differences)
    return [
        {
            "label": cell.label,
            "num_runs": counted(len(cell.trials), "seed" if cell.is_ensemble else "run"),
            "f1": decimal(cell.spread("f1_normal").median),
            "runs": _runs(cell.trials, intervals),
            "weights": [text for trial in cell.trials if (text := _weights(trial))],
            "margins": _differences(within_trials[cell.label]),
            "subgroups": Table(
                subgroups.columns, [r for r in subgroups.rows if r["network"] == cell.label]
            ),
        }
        for cell in group.rows
        if cell.trials
    ]


def overviews(groups: Sequence[Group]) -> dict[str, Table]:
    """Returns each network's scores under every protocol, by data set, without debug runs.

    Only of data sets with several groups; the columns are their slugs.
    """
    by_kind = defaultdict(list)
    for group in groups:
        if group.protocol != DEBUG:
            by_kind[group.kind].append(group)
    return {kind: _overview(same) for kind, same in by_kind.items() if len(same) > 1}


def _overview(groups: Sequence[Group]) -> Table:
    cells = [cell for group in groups for cell in group.rows if cell.trials]
    labels = dict.fromkeys(c.label for c in sorted(cells, key=lambda c: c.is_baseline))
    rows = [
        {"network": label} | {group.slug: _overview_cell(group, label) for group in groups}
        for label in labels
    ]
    return Table(
        {"network": "Network"} | {g.slug: _overview_title(g, groups) for g in groups}, rows
    )


def _overview_title(group: Group, groups: Sequence[Group]) -> str:
    title, _ = PROTOCOLS.get(group.protocol, (group.protocol, ""))
    if sum(other.protocol == group.protocol for other in groups) > 1:
        title += f", {group.trials[0].metrics['data'].get('images') or 0:,} images"
    on = {cell.chosen_on for cell in group.networks}
    if "test" in on:
        last = ", or the last epoch" if "none" in on else ""
        return f"{title} (optimistic: epoch chosen on the test split{last})"
    names = {"none": "last epoch, nothing selected", "val": "epoch chosen on validation"}
    how = "; ".join(name for key, name in names.items() if key in on)
    return f"{title} ({how})" if how else title


def _overview_cell(group: Group, label: str) -> tuple[str, str]:
    cell = next((c for c in group.rows if c.label == label and c.trials), None)
    if cell is None:
        return "", "not run"
    f1, auroc, accuracy = (cell.spread(score) for score in ("f1_normal", "auroc", "accuracy"))
    lines = [interval(f1.low, f1.high)] if f1.low < f1.high else []
    lines += [f"AUROC {decimal(auroc.median)}", f"acc. {decimal(accuracy.median)}"]
    return decimal(f1.median), "\n".join([*lines, counted(len(cell.trials), "trial")])


def _score_rows(group: Group, cell: Cell, intervals: Intervals) -> list[Row]:
    """The row of a network, and for tiny the paper's row below it."""
    num_planned = len(cell.trials) + len(cell.missing)
    runs = f"{len(cell.trials)} of {counted(num_planned, 'run')}"
    runs = counted(len(cell.trials), "seed") if cell.is_ensemble else runs
    ends = intervals.get(cell.trials[0].name, {}) if len(cell.trials) == 1 else {}
    row: dict[str, Any] = {"kind": "ours", "network": (cell.label, runs)}
    gaps = {}
    for name in SCORES:
        value = cell.spread(name)
        some = f" (n = {value.n})" if 0 < value.n < len(cell.trials) else ""
        below = interval(*ends[name]) if name in ends else ""
        if value.low < value.high:
            below = f"{mean_and_sd(value.mean, value.sd)}\n{interval(value.low, value.high)}"
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


def _margins(
    differences: Sequence[Difference],
) -> tuple[list[Difference], dict[str, list[Difference]]]:
    """The margins of the group's table, and by network those within each trial of several.

    The latter over the best baseline.
    """
    margins = [row for row in differences if row.kind == "margin"]
    best = best_margins(margins)
    several = {(row.first, row.second) for row in margins if row.trials > 1}
    within = defaultdict(list)
    for row in margins:
        pair = row.first, row.second
        if row.trials == 1 and pair in several and row.second == best[row.first].second:
            within[row.first].append(row)
    return [
        row for row in margins if row.trials > 1 or (row.first, row.second) not in several
    ], within


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


def _runs(trials: Sequence[Trial], intervals: Intervals) -> Table:
    rows = []
    for trial in trials:
        row: dict[str, Any] = {"trial": split_name(trial.split)}
        for score in WITH_INTERVAL:
            ends = intervals.get(trial.name, {}).get(score)
            value = decimal(trial.score(score))
            row[score] = (value, interval(*ends) if ends else DASH)
        epoch = number(trial.metrics["best"], "epoch")  # an ensemble has none
        last = trial.score("f1_normal", when="last")
        row["epoch"] = DASH if trial.is_baseline or isnan(epoch) else f"{epoch + 1:.0f}"
        row["last"] = DASH if trial.is_baseline else decimal(last)
        rows.append(row)
    return titled(rows, "trial", *WITH_INTERVAL, "epoch", "last")


def _weights(trial: Trial) -> str:
    """The weights of a weighted mean; "" for any other trial."""
    weights = [f"{n} {decimal(w, digits=2)}" for n, w in trial.members if not isnan(w)]
    return f"{split_name(trial.split)}: {', '.join(weights)}" if weights else ""
