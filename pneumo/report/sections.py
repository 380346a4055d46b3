"""The sections of a report: each group of trials as tables, with an introduction and caveats."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isnan
from typing import Any

from pneumo.cli import counted
from pneumo.data.sets import class_of
from pneumo.evaluation import published
from pneumo.evaluation.paired_tests import Comparison
from pneumo.report import assessments, paired
from pneumo.report.caveats import caveats
from pneumo.report.compared import Compared
from pneumo.report.comparisons import Margin, main_margins
from pneumo.report.groups import DEBUG, Cell, Group, Spread
from pneumo.report.pareto import COSTS, devices, fronts
from pneumo.report.recipes import recipes
from pneumo.report.scores import Intervals, paper_figure, size
from pneumo.report.table import SCORES, Row, Table, titled
from pneumo.report.trials import Trial, number, split_name
from pneumo.report.wording import DASH, count, decimal, duration, interval, mean_and_sd, p_value

PROTOCOLS = {
    "paper": "a random 70/30 split by patient in every trial, no validation split",
    "holdout": "a random split by patient in every trial, with a validation split",
    "official": "the data set's own train and test folders, the same in every trial",
    "kfold": "folds by patient, each the test split once",
    DEBUG: "debug runs of a few batches an epoch, which try the software: no score means anything",
}
SIZES = (
    *("parameters", "multiply_adds", "rate", "front", "seconds", "epoch"),
    *("train", "train_minus_test", "train_last", "last"),
)
MARGINS = ("margin", "score", "difference", "interval", "p", "over")
WITH_INTERVAL = ("f1_normal", "auroc", "accuracy", "f1_pneumonia")  # of single runs, on the page
MAX_RUNS = 100  # listed on the page; runs.csv has all


@dataclass
class Section:
    """One group of trials, ready to render."""

    group: Group
    tables: dict[str, Table]  # scores, recipes, sizes, margins, differences, …
    networks: list[dict[str, Any]]  # of each network its runs, margins and subgroups
    caveats: list[str]
    pictures: dict[str, str] = field(default_factory=dict)  # name to SVG for the page

    @property
    def title(self) -> str:
        """Data set and protocol."""
        return f"{self.group.kind}, {self.group.protocol} protocol"

    @property
    def about(self) -> str:
        """The data, the protocol and the number of runs, in sentences."""
        return _about(self.group)

    @property
    def timed_on(self) -> str:
        """The devices of the networks' seconds."""
        return ", ".join(devices(self.group))

    @property
    def num_runs(self) -> int:
        """Finished runs in the group."""
        return len(self.group.trials)

    @property
    def num_models(self) -> int:
        """Networks and baselines, or settings of one, with a finished run."""
        return sum(bool(cell.trials) for cell in self.group.cells)

    @property
    def is_debug(self) -> bool:
        """Whether its scores mean nothing, since its runs are debug runs."""
        return self.group.protocol == DEBUG

    @property
    def warnings(self) -> list[str]:
        """Warnings on intervals over few patients."""
        return assessments.warnings(self.group)

    @property
    def why_not_fixed(self) -> list[str]:
        """Why no operating point and no temperature is fixed for some runs."""
        assessed = [a for cell in self.group.cells for a in assessments.known_assessments(cell)]
        return sorted({one.why_not for one in assessed} - {""})

    @property
    def num_not_assessed(self) -> int:
        """Runs whose assessment is unknown."""
        return sum(trial.metrics.get("assessed") is None for trial in self.group.trials)


def sections(
    groups: Sequence[Group], *, intervals: Intervals, compared: Mapping[str, Compared]
) -> list[Section]:
    """Returns a section for each group, in the order of the report."""
    return [_section(group, compared[group.slug], intervals) for group in groups]


def _section(group: Group, compared: Compared, intervals: Intervals) -> Section:
    margins = main_margins(compared.margins)
    several = {row.network for row in margins if row.pairs > 1}
    whole = [row for row in margins if row.pairs > 1 or row.network not in several]
    within = defaultdict(list)
    for row in margins:
        if row.pairs == 1 and row.network in several:
            within[row.network].append(_margin(row))
    worth = assessments.tables(group)
    tables = {
        "scores": _scores(group, intervals),
        "recipes": recipes(group),
        "sizes": _sizes(group),
        "optimism": _optimism(compared),
        "margins": _margins([_margin(row) for row in whole]),
        "differences": _differences(compared),
        "paired": paired.table(compared.pairs),
        **worth,
    }
    networks, left = [], MAX_RUNS
    for cell in group.rows:
        if cell.trials:
            subgroups = [row for row in worth["subgroups"].rows if row["network"] == cell.label]
            networks.append(
                {
                    "label": cell.label,
                    "num_runs": counted(len(cell.trials), "seed" if cell.is_ensemble else "run"),
                    "f1": decimal(cell.spread("best", "test", "f1_normal").median),
                    "runs": _runs(cell.trials[:left], intervals),
                    "left": max(0, len(cell.trials) - left),
                    "weights": [_weights(t) for t in cell.trials[:left] if _weights(t)],
                    "margins": _margins(within.get(cell.label, [])),
                    "subgroups": Table(worth["subgroups"].columns, subgroups),
                }
            )
            left = max(0, left - len(cell.trials))
    return Section(group, tables, networks, caveats(group))


def _about(group: Group) -> str:
    trial = group.trials[0]
    data = trial.metrics["data"]
    chosen = sorted({cell.chosen_on for cell in group.networks} - {"none"})
    epoch = f"The epoch was chosen on the {' or '.join(chosen)} split. " if chosen else ""
    if last := [cell.label for cell in group.networks if cell.chosen_on == "none"]:
        epoch += f"The epoch of {', '.join(last)} is the last one; nothing was selected. "
    sizes = ", ".join(
        f"{trial.count(split, 'images'):,.0f} {split}"
        for split in ("train", "val", "test")
        if trial.count(split, "images") > 0
    )
    numbers = [
        counted(len({cell.model for cell in cells}), noun)
        for cells, noun in ((group.networks, "network"), (group.baselines, "baseline"))
        if cells
    ]
    return (
        f"{data.get('images') or 0:,} images of {data.get('patients') or 0:,} patients; "
        f"{PROTOCOLS.get(group.protocol, 'a protocol of its own')}. The first trial has {sizes} "
        f"images. {epoch}Finished runs: {len(group.trials)}, of {' and '.join(numbers)}."
    )


def _scores(group: Group, intervals: Intervals) -> Table:
    rows = [row for cell in group.rows for row in _score_rows(group, cell, intervals)]
    return titled(rows, "network", *SCORES)


def _score_rows(group: Group, cell: Cell, intervals: Intervals) -> list[Row]:
    wanted = len(cell.trials) + len(cell.missing)
    runs = f"{len(cell.trials)} of {wanted} run{'s' * (wanted > 1)}"
    runs = counted(len(cell.trials), "seed") if cell.is_ensemble else runs
    values = {name: cell.spread("best", "test", name) for name in SCORES}
    of_one = intervals.get(cell.trials[0].name, {}) if len(cell.trials) == 1 else {}
    row: dict[str, Any] = {"kind": "ours", "network": (cell.label, runs)}
    for name, value in values.items():
        defined = f" (n = {value.n})" if 0 < value.n < len(cell.trials) else ""
        below = _reach(value, of_one.get(name))
        row[name] = (decimal(value.median) + defined, below)
    if class_of(group.kind).generated:
        return [row]
    figures = {name: paper_figure(cell, name) for name in SCORES}
    gaps = {n: decimal(values[n].median - figures[n], sign=True) for n in SCORES}
    if cell.model == "tiny":
        return [row | {"joined": "yes"}, _paper_row(group, figures, gaps)]
    if not isnan(figures["f1_normal"]):
        text, below = row["f1_normal"]
        about = f"paper about {decimal(published.ALL_F1, digits=2)}\nours {gaps['f1_normal']}"
        row["f1_normal"] = (text, f"{below}\n{about}".lstrip())
    return [row]


def _reach(value: Spread, ends: tuple[float, float] | None) -> str:
    """The lines below a median: mean ± sd and range, or of one trial its 95 % interval."""
    if value.low < value.high:
        return f"{mean_and_sd(value.mean, value.sd)}\n{interval(value.low, value.high)}"
    return interval(*ends) if ends else ""


def _paper_row(group: Group, figures: Mapping[str, float], gaps: Mapping[str, str]) -> Row:
    where = "" if group.protocol == "paper" else ", on random splits"
    row: dict[str, Any] = {"kind": "paper", "network": (f"the paper's tiny{where}", "5 of 5 runs")}
    for name in SCORES:
        below = "" if gaps[name] == DASH else f"ours {gaps[name]}"
        if name == "accuracy":
            spread = mean_and_sd(published.TINY_MEAN_ACCURACY, published.TINY_SD_ACCURACY)
            below = f"{spread}\n{below}".rstrip()
        row[name] = (decimal(figures[name]), below)
    return row


def _sizes(group: Group) -> Table:
    on_front = fronts(group)
    rows: list[Row] = []
    for cell in group.rows:
        if not cell.trials:
            continue
        train, test, train_last, last = (
            cell.spread(when, split, "f1_normal").median
            for when in ("best", "last")
            for split in (cell.train_split, "test")
        )
        fast = size(cell, "images_per_second").median
        front = (COSTS[key][0] for key, cells in on_front.items() if any(cell is c for c in cells))
        num_parameters = size(cell, "parameters")
        rows.append(
            {
                "network": cell.label,
                "parameters": f"{num_parameters.median:,.0f}" if num_parameters.n else DASH,
                "multiply_adds": count(size(cell, "multiply_adds").median),
                "rate": f"{fast:,.1f}" if fast > 0 else DASH,
                "front": ", ".join(front),
                "seconds": duration(size(cell, "seconds_total").median),
                "epoch": _epochs(size(cell, "best_epoch")),
                "train": decimal(train),
                "train_minus_test": decimal(train - test, sign=True),
                "train_last": DASH if cell.is_baseline else decimal(train_last),
                "last": DASH if cell.is_baseline else decimal(last),
            }
        )
    return titled(rows, "network", *SIZES, texts=("front",))


def _epochs(value: Spread) -> str:
    if value.low == value.high:
        return f"{value.low:.0f}"
    return interval(value.low, value.high, digits=0)


def _margin(row: Margin) -> Row:
    names = {"margin": f"{row.network} minus {row.baseline}", "score": SCORES[row.score]}
    return names | _test(row.test, row.pairs) | {"over": row.over}


def _margins(rows: Sequence[Row]) -> Table:
    return titled(rows, *MARGINS, texts=("score", "over"))


def _differences(compared: Compared) -> Table:
    rows = [
        {"pair": f"{row.first} minus {row.second}", "score": SCORES[row.score]}
        | _test(row.test, row.pairs)
        | {"holm": p_value(row.p_holm), "trials": str(row.pairs)}
        for row in compared.differences
    ]
    keys = ("pair", "score", "difference", "interval", "p", "holm", "trials")
    return titled(rows, *keys, texts=("score",))


def _optimism(compared: Compared) -> Table:
    rows = [
        {"network": row.label, "score": SCORES[row.score], "how": row.how, "trials": str(row.n)}
        | _test(row.test, row.n)
        for row in compared.optimism
    ]
    keys = ("network", "score", "how", "difference", "interval", "trials")
    return titled(rows, *keys, texts=("how", "score"))


def _test(test: Comparison, num_trials: int) -> dict[str, str]:
    ends = interval(test.low, test.high, sign=True)
    if ends == DASH and num_trials > 1:
        ends = f"withheld: {num_trials} trials are too few"
    difference = decimal(test.difference, sign=True)
    return {"difference": difference, "interval": ends, "p": p_value(test.p)}


def _runs(trials: Sequence[Trial], intervals: Intervals) -> Table:
    rows = []
    for trial in trials:
        epoch = number(trial.metrics["best"], "epoch")  # an ensemble has none
        row: dict[str, Any] = {"trial": split_name(trial.split)}
        for score in WITH_INTERVAL:
            ends = intervals.get(trial.name, {}).get(score)
            row[score] = (
                decimal(trial.score("best", "test", score)),
                interval(*ends) if ends else DASH,
            )
        row["epoch"] = DASH if trial.is_baseline or isnan(epoch) else f"{epoch + 1:.0f}"
        last = trial.score("last", "test", "f1_normal")
        row["last"] = DASH if trial.is_baseline else decimal(last)
        rows.append(row)
    return titled(rows, "trial", *WITH_INTERVAL, "epoch", "last")


def _weights(trial: Trial) -> str:
    """The weights of a weighted mean in words; "" for anything else."""
    weights = [f"{n} {decimal(w, digits=2)}" for n, w in trial.members if not isnan(w)]
    return f"{split_name(trial.split)}: {', '.join(weights)}" if weights else ""
