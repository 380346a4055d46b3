"""The findings of a report in sentences; the first one stands alone."""

from collections import Counter
from collections.abc import Mapping, Sequence
from math import isnan

from pneumo.cli import counted
from pneumo.data.sets import class_of
from pneumo.report.compared import Compared
from pneumo.report.comparisons import Margin, Optimism, best_margins
from pneumo.report.groups import DEBUG, Cell, Group, Spread
from pneumo.report.scores import paper_figure
from pneumo.report.trials import Problem
from pneumo.report.wording import decimal, interval

MAX_MEDIANS = 6  # networks in one sentence
NO_HONEST = (
    "Every epoch was chosen on the split that is scored, so these scores are optimistic; "
    "protocol=official and protocol=holdout choose it on validation data."
)


def headline(
    groups: Sequence[Group], *, problems: Sequence[Problem], compared: Mapping[str, Compared]
) -> list[str]:
    """Returns the findings: the first network's score, the others', and what is left out."""
    ranked = [(cell, group) for group in groups for cell in _ranked(group)]
    if not ranked:
        return [f"No finished run was found: {_states(problems)}, each named below."]
    networks = [(cell, group) for cell, group in ranked if not cell.is_baseline]
    if networks:  # of the first data set; debug runs only if there is nothing else
        kind = networks[0][1].kind
        full = [(c, g) for c, g in networks if g.kind == kind and g.protocol != DEBUG]
        networks = full or networks
    honest = [(c, g) for c, g in networks if g.protocol != DEBUG and c.chosen_on != "test"]
    cell, group = (honest or networks or ranked)[0]
    debug = "DEBUG RUNS of a few batches an epoch: the scores mean nothing."
    sentences = [debug] if group.protocol == DEBUG else []
    sentences.append(_lead(cell, group, compared[group.slug]))
    others = [other for other in _ranked(group) if other is not cell]
    for noun, is_baseline in (("other networks", False), ("baselines", True)):
        if medians := _medians([other for other in others if other.is_baseline is is_baseline]):
            sentences.append(f"The {noun}' medians are {medians}.")
    optimistic = [(c, g) for c, g in networks if c.chosen_on == "test"] if honest else []
    if optimistic:
        chosen, home = min(optimistic, key=lambda pair: pair[0].model != cell.model)
        lead = _lead(chosen, home, compared[home.slug])
        sentences.append(f"Optimistic, scored on the split that chose: {lead}")
    elif not honest and networks and group.protocol != DEBUG:
        sentences.append(NO_HONEST)
    if problems:
        sentences.append(f"Left out and named below: {_states(problems)}.")
    return sentences


def _ranked(group: Group) -> list[Cell]:
    """The group's cells with scores: tiny first, then the best networks, then baselines."""

    def merit(cell: Cell) -> float:
        return cell.spread("best", _ranked_on(cell), "f1_normal").median

    cells = [cell for cell in group.cells if _f1(cell).n]
    return sorted(cells, key=lambda c: (c.is_baseline, c.model != "tiny", -merit(c)))


def _ranked_on(cell: Cell) -> str:
    """The split by which settings are compared: validation, or test if there is none."""
    has_val = cell.chosen_on != "test" and cell.spread("best", "val", "f1_normal").n
    return "val" if has_val else "test"


def _f1(cell: Cell) -> Spread:
    return cell.spread("best", "test", "f1_normal")


def _medians(cells: Sequence[Cell]) -> str:
    text = ", ".join(f"{c.label} {decimal(_f1(c).median)}" for c in cells[:MAX_MEDIANS])
    more = len(cells) - MAX_MEDIANS
    return text + (f" and {more} more" if more > 0 else "")


def _lead(cell: Cell, group: Group, compared: Compared) -> str:
    value = _f1(cell)
    phantom = class_of(group.kind).generated
    start = cell.label[:1].upper() + cell.label[1:]
    if phantom:
        start = f"On phantoms, which are drawn and not radiographs, {cell.label}"
    reach = f" (lowest {decimal(value.low)}, highest {decimal(value.high)})" if value.n > 1 else ""
    article, over = ("a", "in") if value.n == 1 else ("a median", "over")
    parts = [
        f"{start} reached {article} test F1 of NORMAL of {decimal(value.median)}{reach} {over} "
        f"{counted(value.n, 'trial')} of the {group.protocol} protocol",
        _choice(cell, group),
        _margin(cell, compared.margins),
        "" if phantom else _paper(cell, group),
    ]
    bias = [r for r in compared.optimism if (r.label, r.score) == (cell.label, "f1_normal")]
    parts += [_selection_bias(row) for row in bias[:1]]
    return f"{''.join(parts)}."


def _choice(cell: Cell, group: Group) -> str:
    """How its setting and its epoch were chosen."""
    text = ""
    rivals = sum(other.model == cell.model and bool(_f1(other).n) for other in group.cells)
    if rivals > 1:
        split = _ranked_on(cell)
        bias = ", which is optimistic" if split == "test" else ""
        text = f", the best of {rivals} settings on the {split} split{bias}"
    epochs = {
        "val": ", its epoch chosen on the validation split",
        "none": ", its epoch the last one",
    }
    return text + epochs.get(cell.chosen_on, "")


def _margin(cell: Cell, margins: Sequence[Margin]) -> str:
    """Its margin over the baseline that leaves it the least; "" if none shares a split."""
    row = best_margins(margins).get(cell.label)
    if row is None:
        return ""
    over = f"over {row.over} on the same splits" if row.pairs > 1 else f"over {row.over}"
    ends = "" if isnan(row.test.low) else f"{interval(row.test.low, row.test.high, sign=True)}, "
    return (
        f"; its margin over the best baseline, {row.baseline}, is "
        f"{decimal(row.test.difference, sign=True)} of accuracy ({ends}{over})"
    )


def _paper(cell: Cell, group: Group) -> str:
    figure = paper_figure(cell, "f1_normal")
    if isnan(figure):
        return ""
    text = decimal(figure) if cell.model == "tiny" else f"about {decimal(figure, digits=2)}"
    where = "" if group.protocol == "paper" else ", on random splits and its best epoch on them,"
    return f"; the paper{where} reports {text}"


def _selection_bias(row: Optimism) -> str:
    gain = decimal(row.test.difference)
    if row.how.startswith("best minus last"):
        return f"; choosing the epoch on the test split raised it by {gain} against the last epoch"
    return f"; choosing the epoch on the test split would have raised it by {gain}"


def _states(problems: Sequence[Problem]) -> str:
    states = Counter(problem.state for problem in problems)
    return ", ".join(f"{n} {state}" for state, n in states.most_common()) or "nothing"
