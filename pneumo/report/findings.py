"""What a report says in words and numbers, ready to print: sentences and table cells."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isnan

from pneumo.cli import counted
from pneumo.evaluation import published
from pneumo.evaluation.intervals import Comparison
from pneumo.report.caveats import caveats
from pneumo.report.compared import Compared
from pneumo.report.comparisons import Difference, Margin, Optimism, best_margins, main_margins
from pneumo.report.groups import DEBUG, Cell, Group, Spread
from pneumo.report.paired import Pair
from pneumo.report.pareto import NAMES, devices, fronts
from pneumo.report.recipes import recipes
from pneumo.report.tables import Intervals, paper_figure, sizes
from pneumo.report.trials import Problem
from pneumo.report.wording import DASH, count, decimal, duration, interval, mean_and_sd, p_value

COLUMNS = {
    "f1_normal": "F1 of NORMAL",
    "auroc": "AUROC",
    "accuracy": "Accuracy",
    "precision_normal": "Precision of NORMAL",
    "recall_normal": "Recall of NORMAL",
    "f1_pneumonia": "F1 of PNEUMONIA",
    "precision_pneumonia": "Precision of PNEUMONIA",
    "recall_pneumonia": "Recall of PNEUMONIA",
}
PROTOCOLS = {
    "paper": "a random 70/30 split by patient in every trial, no validation split",
    "holdout": "a random split by patient in every trial, with a validation split",
    "official": "the data set's own train and test folders, the same in every trial",
    "kfold": "folds by patient, each the test split once",
    DEBUG: "debug runs of a few batches an epoch, which try the software: no score means anything",
}


NO_HONEST = (
    "Every epoch was chosen on the split that is scored, so these scores are optimistic; "
    "protocol=official and protocol=holdout choose it on validation data."
)


@dataclass
class Section:
    """One group, in words and table cells."""

    group: Group
    title: str
    about: str
    scores: list[dict[str, str]]
    sizes: list[dict[str, str]]
    timed_on: str  # the devices of its networks' seconds
    margins: list[dict[str, str]]
    differences: list[dict[str, str]]
    optimism: list[dict[str, str]]
    pairs: list[Pair]
    caveats: list[str]
    recipes: tuple[list[str], list[dict[str, str]]]  # networks, and the settings that differ
    of_trials: dict[str, list[dict[str, str]]]  # margins within each trial, by network
    pictures: dict[str, str] = field(default_factory=dict)  # name to SVG for the page

    @property
    def num_runs(self) -> int:
        """Finished runs in the group."""
        return len(self.group.trials)

    @property
    def num_models(self) -> int:
        """Networks and baselines, or settings of one, with a finished run."""
        return sum(bool(cell.trials) for cell in self.group.cells)


def sections(
    groups: Sequence[Group], *, intervals: Intervals, compared: Mapping[str, Compared]
) -> list[Section]:
    """Every group in words and table cells, in the order of the report."""
    return [_section(group, compared[group.slug], intervals) for group in groups]


def headline(
    groups: Sequence[Group], *, problems: Sequence[Problem], compared: Mapping[str, Compared]
) -> list[str]:
    """What was found, in sentences; the first stands alone."""
    ranked = [(cell, group) for group in groups for cell in _ranked(group)]
    if not ranked:
        return [f"No finished run was found: {_states(problems)}, each named below."]
    networks = [pair for pair in ranked if not pair[0].is_baseline]
    if networks:  # of the first data set; debug runs only where there is nothing else
        first = networks[0][1]
        whole = [(c, g) for c, g in networks if g.kind == first.kind and g.protocol != DEBUG]
        networks = whole or networks
    honest = [(c, g) for c, g in networks if g.protocol != DEBUG and not _is_optimistic(c)]
    lead, group = next(iter(honest or networks or ranked))
    said = [_lead(lead, group, compared[group.slug])]
    if group.protocol == DEBUG:
        said.insert(0, "DEBUG RUNS of a few batches an epoch: the scores mean nothing.")
    others = [cell for cell in _ranked(group) if cell is not lead]
    for name, baseline in (("other networks", False), ("baselines", True)):
        if told := _medians([cell for cell in others if cell.is_baseline is baseline]):
            said.append(f"The {name}' medians are {told}.")
    optimistic = [(c, g) for c, g in networks if _is_optimistic(c)] if honest else []
    optimistic.sort(key=lambda pair: pair[0].model != lead.model)
    if optimistic:
        chosen, home = optimistic[0]
        told = _lead(chosen, home, compared[home.slug])
        said.append(f"Optimistic, scored on the split that chose: {told}")
    elif not honest and networks and group.protocol != DEBUG:
        said.append(NO_HONEST)
    if problems:
        said.append(f"Left out and named below: {_states(problems)}.")
    return said


def _is_optimistic(cell: Cell) -> bool:
    return cell.settings.get("chosen_on") == "test"


def _medians(cells: Sequence[Cell]) -> str:
    told = ", ".join(f"{cell.label} {decimal(_f1(cell).median)}" for cell in cells[:6])
    return told + (f" and {len(cells) - 6} more" if len(cells) > 6 else "")


def _section(group: Group, compared: Compared, intervals: Intervals) -> Section:
    shown = main_margins(compared.margins)
    on_front = fronts(group)
    several = {row.network for row in shown if row.pairs > 1}
    whole = [row for row in shown if row.pairs > 1 or row.network not in several]
    within = defaultdict(list)
    for row in shown:
        if row.pairs == 1 and row.network in several:
            within[row.network].append(_margin_cells(row))
    return Section(
        group,
        title=f"{group.kind}, {group.protocol} protocol",
        about=_about(group),
        scores=[row for cell in group.rows for row in _score_cells(group, cell, intervals)],
        sizes=[_size_cells(cell, on_front) for cell in group.rows if cell.trials],
        timed_on=", ".join(devices(group)),
        margins=[_margin_cells(row) for row in whole],
        differences=[_difference_cells(row) for row in compared.differences],
        optimism=[_optimism_cells(row) for row in compared.optimism],
        pairs=compared.pairs,
        caveats=caveats(group),
        recipes=recipes(group),
        of_trials=dict(within),
    )


def _about(group: Group) -> str:
    trial = group.trials[0]
    data = trial.metrics["data"]
    chosen = sorted({str(cell.settings.get("chosen_on")) for cell in group.networks} - {"none"})
    epoch = f"The epoch was chosen on the {' or '.join(chosen)} split. " if chosen else ""
    if last := [cell.label for cell in group.networks if cell.settings.get("chosen_on") == "none"]:
        epoch += f"The epoch of {', '.join(last)} is the last one; nothing was selected. "
    held = f"{data.get('images') or 0:,} images of {data.get('patients') or 0:,} patients"
    how = PROTOCOLS.get(group.protocol, "a protocol of its own")
    sizes = ", ".join(
        f"{trial.count(split, 'images'):,.0f} {split}"
        for split in ("train", "val", "test")
        if trial.count(split, "images") > 0
    )
    counts = [
        (len({cell.model for cell in cells}), name)
        for cells, name in ((group.networks, "network"), (group.baselines, "baseline"))
    ]
    models = " and ".join(f"{n} {name}{'s' * (n > 1)}" for n, name in counts if n)
    return (
        f"{held}; {how}. The first trial has {sizes} images. "
        f"{epoch}Finished runs: {len(group.trials)}, of {models}."
    )


def _score_cells(group: Group, cell: Cell, intervals: Intervals) -> list[dict[str, str]]:
    wanted = len(cell.trials) + len(cell.missing)
    runs = f"{len(cell.trials)} of {wanted}"
    values = {name: cell.spread("best", "test", name) for name in COLUMNS}
    row = {"kind": "ours", "network": cell.label, "runs": runs}
    row["told"] = f"{runs} run{'s' * (wanted > 1)}"
    if cell.is_ensemble:
        row |= {"kind": "ensemble", "runs": str(len(cell.trials))}
        row["told"] = counted(len(cell.trials), "seed")
    for name, value in values.items():
        short = f" (n = {value.n})" if 0 < value.n < len(cell.trials) else ""
        row[name] = decimal(value.median) + short
        row[f"{name}_mean"] = _mean(value)
        row[f"{name}_range"] = interval(value.low, value.high) if value.low < value.high else ""
        if len(cell.trials) == 1 and (ends := intervals.get(cell.trials[0].name, {}).get(name)):
            row[f"{name}_interval"] = interval(*ends)
    if group.kind == "phantom":
        return [row]
    gap = {
        name: decimal(value.median - paper_figure(cell, name), sign=True)
        for name, value in values.items()
    }
    if cell.model == "tiny":
        return [row, _paper_cells(group, cell, gap)]
    if not isnan(paper_figure(cell, "f1_normal")):
        about = f"paper about {decimal(published.ALL_F1, digits=2)}"
        row["f1_normal_gap"] = f"{about}\nours {gap['f1_normal']}"
    return [row]


def _paper_cells(group: Group, cell: Cell, gap: dict[str, str]) -> dict[str, str]:
    where = "" if group.protocol == "paper" else ", on random splits"
    row = {"kind": "paper", "network": f"the paper's tiny{where}", "runs": "5 of 5"}
    row["told"] = "5 of 5 runs"
    for name in COLUMNS:
        row[name] = decimal(paper_figure(cell, name))
        if gap.get(name, DASH) != DASH:
            row[f"{name}_gap"] = f"ours {gap[name]}"
    row["accuracy_mean"] = mean_and_sd(published.TINY_MEAN_ACCURACY, published.TINY_SD_ACCURACY)
    return row


def _size_cells(cell: Cell, on_front: Mapping[str, Sequence[Cell]]) -> dict[str, str]:
    size = sizes(cell)
    train, test = (
        cell.spread("best", split, "f1_normal").median for split in (cell.train_split, "test")
    )
    return {
        "network": cell.label,
        "parameters": f"{size['parameters'].median:,.0f}" if size["parameters"].n else DASH,
        "multiply_adds": count(size["multiply_adds"].median),
        "rate": f"{rate:,.1f}" if (rate := size["images_per_second"].median) > 0 else DASH,
        "front": ", ".join(
            NAMES[key] for key, cells in on_front.items() if any(cell is one for one in cells)
        ),
        "seconds": duration(size["seconds_total"].median),
        "epoch": _epochs(size["best_epoch"]),
        "train": decimal(train),
        "gap": decimal(train - test, sign=True),
        **{
            key: DASH
            if cell.is_baseline
            else decimal(cell.spread("last", split, "f1_normal").median)
            for key, split in (("train_last", cell.train_split), ("last", "test"))
        },
    }


def _epochs(value: Spread) -> str:
    if value.low == value.high:
        return f"{value.low:.0f}"
    return interval(value.low, value.high, digits=0)


def _margin_cells(row: Margin) -> dict[str, str]:
    return {
        "pair": f"{row.network} minus {row.baseline}",
        "score": COLUMNS[row.score],
        "over": row.over,
        **_test_cells(row.test, row.pairs),
        "p": p_value(row.test.p),
    }


def _difference_cells(row: Difference) -> dict[str, str]:
    return {
        "score": COLUMNS[row.score],
        "pair": f"{row.first} minus {row.second}",
        "pairs": str(row.pairs),
        **_test_cells(row.test, row.pairs),
        "p": p_value(row.test.p),
        "holm": p_value(row.p_holm),
    }


def _optimism_cells(row: Optimism) -> dict[str, str]:
    return {
        "score": COLUMNS[row.score],
        "network": row.label,
        "how": row.how,
        "pairs": str(row.n),
        **_test_cells(row.test, row.n),
    }


def _test_cells(test: Comparison, trials: int) -> dict[str, str]:
    ends = interval(test.low, test.high, sign=True)
    if ends == DASH and trials > 1:
        ends = f"withheld: {trials} trials tell too little"
    return {"difference": decimal(test.difference, sign=True), "interval": ends}


def _mean(value: Spread) -> str:
    return mean_and_sd(value.mean, value.sd) if value.low < value.high else ""


def _f1(cell: Cell) -> Spread:
    return cell.spread("best", "test", "f1_normal")


def _ranked(group: Group) -> list[Cell]:
    """The group's networks with scores: tiny, the paper's own, first, then the best; baselines.

    Settings are ranked on the split that ranks them honestly, see _ranked_on.
    """

    def merit(cell: Cell) -> float:
        return cell.spread("best", _ranked_on(cell), "f1_normal").median

    cells = [cell for cell in group.cells if _f1(cell).n]
    return sorted(cells, key=lambda c: (c.is_baseline, c.model != "tiny", -merit(c)))


def _ranked_on(cell: Cell) -> str:
    """Returns the split by which settings are compared: validation, or test if there is none."""
    has_val = cell.settings.get("chosen_on") != "test" and cell.spread("best", "val", "f1_normal").n
    return "val" if has_val else "test"


def _lead(cell: Cell, group: Group, compared: Compared) -> str:
    value = _f1(cell)
    ground = "On phantoms, which are drawn and not radiographs, " if group.kind == "phantom" else ""
    trials = "1 trial" if value.n == 1 else f"{value.n} trials"
    reach = f" (lowest {decimal(value.low)}, highest {decimal(value.high)})" if value.n > 1 else ""
    name = cell.label if ground else cell.label[:1].upper() + cell.label[1:]
    middle, over = ("a", "in") if value.n == 1 else ("a median", "over")
    said = (
        f"{ground}{name} reached {middle} test F1 of NORMAL of {decimal(value.median)}{reach} "
        f"{over} {trials} of the {group.protocol} protocol"
    )
    rivals = sum(other.model == cell.model and bool(_f1(other).n) for other in group.cells)
    if rivals > 1:
        on = _ranked_on(cell)
        bias = ", which is optimistic" if on == "test" else ""
        said += f", the best of {rivals} settings on the {on} split{bias}"
    if cell.settings.get("chosen_on") == "val":
        said += ", its epoch chosen on the validation split"
    elif cell.settings.get("chosen_on") == "none":
        said += ", its epoch the last one"
    said += _margin(cell, compared.margins)
    figure = paper_figure(cell, "f1_normal")
    if not isnan(figure) and group.kind != "phantom":
        told = decimal(figure) if cell.model == "tiny" else f"about {decimal(figure, digits=2)}"
        where = (
            "" if group.protocol == "paper" else ", on random splits and its best epoch on them,"
        )
        said += f"; the paper{where} reports {told}"
    for row in compared.optimism:
        if (row.label, row.score) == (cell.label, "f1_normal"):
            return f"{said}; {_selection_bias(row)}."
    return f"{said}."


def _margin(cell: Cell, margins: Sequence[Margin]) -> str:
    """Its margin over the baseline that leaves it the least; "" where none shares a split."""
    row = best_margins(margins).get(cell.label)
    if row is None:
        return ""
    over = f"over {row.over} on the same splits" if row.pairs > 1 else f"over {row.over}"
    ends = "" if isnan(row.test.low) else f"{interval(row.test.low, row.test.high, sign=True)}, "
    return (
        f"; its margin over the best baseline, {row.baseline}, is "
        f"{decimal(row.test.difference, sign=True)} of accuracy "
        f"({ends}{over})"
    )


def _selection_bias(row: Optimism) -> str:
    gain = decimal(row.test.difference)
    if row.how.startswith("best minus last"):
        return f"choosing the epoch on the test split raised it by {gain} against the last epoch"
    return f"choosing the epoch on the test split would have raised it by {gain}"


def _states(problems: Sequence[Problem]) -> str:
    states = Counter(problem.state for problem in problems)
    return ", ".join(f"{n} {state}" for state, n in states.most_common()) or "nothing"
