"""The findings of a report in sentences; the first one stands alone."""

from collections import Counter
from collections.abc import Mapping, Sequence
from math import isnan

from pneumo.cli import counted
from pneumo.report.comparisons import Difference, best_margins
from pneumo.report.groups import DEBUG, Cell, Group
from pneumo.report.scores import paper_figure
from pneumo.report.trials import Problem
from pneumo.report.wording import decimal, interval

MAX_MEDIANS = 6  # networks in one sentence
DEBUG_ONLY = "DEBUG RUNS of a few batches an epoch: the scores mean nothing."
ONLY_OPTIMISTIC = (
    "Every epoch was chosen on the split that is scored, so these scores are optimistic; "
    "protocol=official and protocol=holdout choose it on validation data."
)


def findings(
    groups: Sequence[Group],
    *,
    problems: Sequence[Problem],
    differences: Mapping[str, Sequence[Difference]],
) -> list[str]:
    """Returns paragraphs on the first network, the others, and the runs left out.

    First comes a score whose epoch was not chosen on the test split, if there is one, then an
    optimistic one.
    """
    ranked = [(cell, group) for group in groups for cell in _ranked(group)]
    if not ranked:
        return [f"No finished run was found: {_states(problems)}, each named below."]
    networks = [pair for pair in ranked if not pair[0].is_baseline]
    networks = [(c, g) for c, g in networks if g.kind == networks[0][1].kind]
    networks = [(c, g) for c, g in networks if g.protocol != DEBUG] or networks
    honest = [(c, g) for c, g in networks if g.protocol != DEBUG and c.chosen_on != "test"]
    cell, group = (honest or networks or ranked)[0]
    sentences = [DEBUG_ONLY] if group.protocol == DEBUG else []
    lead, *more = _on(cell, group, differences[group.slug])
    sentences += [lead, " ".join(more)] if more else [lead]
    others = [other for other in _ranked(group) if other is not cell]
    for noun, is_baseline in (("other networks", False), ("baselines", True)):
        if medians := _medians([other for other in others if other.is_baseline is is_baseline]):
            sentences.append(f"The {noun}' medians are {medians}.")
    optimistic = [(c, g) for c, g in networks if c.chosen_on == "test"] if honest else []
    if optimistic:
        chosen, home = min(optimistic, key=lambda pair: pair[0].model != cell.model)
        text = " ".join(_on(chosen, home, differences[home.slug]))
        sentences.append(f"Optimistic, with the epoch chosen on the test split: {text}")
    elif not honest and networks and group.protocol != DEBUG:
        sentences.append(ONLY_OPTIMISTIC)
    if problems:
        sentences.append(f"Left out and named below: {_states(problems)}.")
    return sentences


def _ranked(group: Group) -> list[Cell]:
    """The cells with scores: tiny first, then the best networks, then baselines."""
    merit = {
        cell.label: cell.spread("f1_normal", split=_ranked_on(cell)).median for cell in group.cells
    }
    cells = [cell for cell in group.cells if cell.spread("f1_normal").n]
    return sorted(cells, key=lambda c: (c.is_baseline, c.model != "tiny", -merit[c.label]))


def _ranked_on(cell: Cell) -> str:
    """The split by which settings are ranked: validation, or test if there is none."""
    has_val = cell.chosen_on != "test" and cell.spread("f1_normal", split="val").n
    return "val" if has_val else "test"


def _medians(cells: Sequence[Cell]) -> str:
    text = ", ".join(
        f"{c.label} {decimal(c.spread('f1_normal').median)}" for c in cells[:MAX_MEDIANS]
    )
    more = len(cells) - MAX_MEDIANS
    return text + (f" and {more} more" if more > 0 else "")


def _on(cell: Cell, group: Group, differences: Sequence[Difference]) -> list[str]:
    """Sentences on one network: score, margin over the baselines, the paper's, optimism."""
    f1, label = cell.spread("f1_normal"), cell.label
    is_phantom = group.data_set.generated
    start = f"{label[:1].upper()}{label[1:]}"
    if is_phantom:
        start = f"On phantoms, which are drawn and not radiographs, {label}"
    ends = f" (lowest {decimal(f1.low)}, highest {decimal(f1.high)})" if f1.n > 1 else ""
    article, over = ("a", "in") if f1.n == 1 else ("a median", "over")
    sentences = [
        f"{start} reached {article} test F1 of NORMAL of {decimal(f1.median)}{ends} {over} "
        f"{counted(f1.n, 'trial')} of the {group.protocol} protocol{_choice(cell, group)}."
    ]
    if margin := best_margins(differences).get(cell.label):
        sentences.append(_margin(margin))
    if not is_phantom and not isnan(figure := paper_figure(cell, "f1_normal")):
        text = decimal(figure) if cell.model == "tiny" else f"about {decimal(figure, digits=2)}"
        where = "" if group.protocol == "paper" else ", on random splits and its best epoch there,"
        sentences.append(f"The paper{where} reports {text}.")
    bias = [
        row
        for row in differences
        if (row.kind, row.first, row.score) == ("optimism", cell.label, "f1_normal")
    ]
    return sentences + [_optimism(row) for row in bias[:1]]


def _choice(cell: Cell, group: Group) -> str:
    """How its setting and its epoch were chosen."""
    text = ""
    num_settings = sum(
        other.model == cell.model and bool(other.spread("f1_normal").n) for other in group.cells
    )
    if num_settings > 1:
        split = _ranked_on(cell)
        bias = ", which is optimistic" if split == "test" else ""
        text = f", the best of {num_settings} settings on the {split} split{bias}"
    epochs = {"val": ", its epoch chosen on the validation split", "none": ", its last epoch"}
    return text + epochs.get(cell.chosen_on, "")


def _margin(row: Difference) -> str:
    over = f"over {row.over} on the same splits" if row.trials > 1 else f"over {row.over}"
    ends = "" if isnan(row.test.low) else f"{interval(row.test.low, row.test.high, sign=True)}, "
    difference = decimal(row.test.difference, sign=True)
    return (
        f"Its margin of accuracy over the best baseline, {row.second}, is {difference} "
        f"({ends}{over})."
    )


def _optimism(row: Difference) -> str:
    gain = decimal(row.test.difference)
    if row.second.startswith("best minus last"):
        return f"Choosing the epoch on the test split raised F1 by {gain} against the last epoch."
    return f"Choosing the epoch on the test split would have raised F1 by {gain}."


def _states(problems: Sequence[Problem]) -> str:
    states = Counter(problem.state for problem in problems)
    return ", ".join(f"{n} {state}" for state, n in states.most_common()) or "nothing"
