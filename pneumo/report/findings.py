"""The findings of a report: two sentences that stand alone, and what limits them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from math import isnan

from pneumo.cli import counted
from pneumo.report.comparisons import Difference, best_margins
from pneumo.report.groups import DEBUG, Cell, Group
from pneumo.report.scores import Intervals
from pneumo.report.trials import Problem
from pneumo.report.wording import DASH, decimal, interval

DEBUG_ONLY = "DEBUG RUNS of a few batches an epoch: the scores mean nothing."
ONLY_OPTIMISTIC = (
    "Every epoch was chosen on the split that is scored, so these scores are optimistic; "
    "protocol=official and protocol=holdout choose it on validation data."
)
PLACES = {
    "official": "on the official test set",
    "own": "on the set's own test split",
    "holdout": "on random test splits",
    "paper": "on random test splits",
    "kfold": "on folds drawn at random",
}
Differences = Mapping[str, Sequence[Difference]]


def findings(
    groups: Sequence[Group],
    *,
    problems: Sequence[Problem],
    differences: Differences,
    intervals: Intervals,
) -> list[str]:
    """Returns the score of the best honest network, what random splits would say, and what fails.

    Honest is a score whose epoch was not chosen on the test split. Among the honest networks of
    the first protocol, that with the most trials leads, the best on validation of equals.
    """
    lead = leading(groups)
    if lead is None:
        return [f"No finished run was found: {_states(problems)}, each named below."]
    cell, group = lead
    sentences = [DEBUG_ONLY] if group.protocol == DEBUG else []
    sentences.append(_score(cell, group, differences[group.slug], intervals))
    if group.protocol in ("official", "own"):
        sentences += _random(cell, group, groups, differences)
    elif cell.chosen_on == "test" and not cell.is_baseline and group.protocol != DEBUG:
        sentences.append(ONLY_OPTIMISTIC)
    if problems:
        sentences.append(f"Left out and named below: {_states(problems)}.")
    return sentences


def leading(groups: Sequence[Group]) -> tuple[Cell, Group] | None:
    """Returns the network that the report opens with, and its group; a baseline if alone."""
    every = [(cell, group) for group in groups for cell in group.cells if cell.spread("auroc").n]
    every = every or [(c, g) for g in groups for c in g.cells if c.trials]
    networks = [(c, g) for c, g in every if not c.is_baseline] or every
    networks = [(c, g) for c, g in networks if g.kind == networks[0][1].kind]
    networks = [(c, g) for c, g in networks if g.protocol != DEBUG] or networks
    best = [(c, g) for c, g in networks if c.chosen_on != "test"] or networks
    of_first = [(c, g) for c, g in best if g is best[0][1]]
    return max(of_first, key=_merit) if of_first else None


def _merit(pair: tuple[Cell, Group]) -> tuple[int, float]:
    merit = pair[0].spread("f1_normal", split=_ranked_on(pair[0])).median
    return len(pair[0].trials), -1.0 if isnan(merit) else merit


def _ranked_on(cell: Cell) -> str:
    """The split by which settings are ranked: validation, or test if there is none."""
    has_val = cell.chosen_on != "test" and cell.spread("f1_normal", split="val").n
    return "val" if has_val else "test"


def _score(
    cell: Cell, group: Group, differences: Sequence[Difference], intervals: Intervals
) -> str:
    auroc, label = cell.spread("auroc"), _starting(cell.label)
    if group.data_set.generated:
        label = f"On phantoms, which are drawn and not radiographs, {cell.label}"
    ends = interval(auroc.low, auroc.high)
    if len(cell.trials) == 1:
        ends = interval(*intervals.get(cell.trials[0].name, {}).get("auroc", (None, None)))
    known = ", ".join(x for x in (ends, counted(len(cell.trials), "trial")) if x != DASH)
    where = PLACES.get(group.protocol, f"under the {group.protocol} protocol")
    text = f"{label} reaches an AUROC of {decimal(auroc.median)} ({known}) {where}"
    text += _choice(cell, group)
    if margin := best_margins(differences, "auroc").get(cell.label):
        low_high = interval(margin.test.low, margin.test.high, sign=True)
        difference = decimal(margin.test.difference, sign=True)
        known = "" if low_high == DASH else f" ({low_high})"
        text += f", {difference}{known} over the best baseline, {margin.second}"
    return f"{text}."


def _random(
    cell: Cell, group: Group, groups: Sequence[Group], differences: Differences
) -> list[str]:
    """What random splits say, of the same network if it has any: [] without random splits."""
    pairs = [
        (other, home)
        for home in groups
        if home.kind == group.kind and home.protocol in ("paper", "holdout", "kfold")
        for other in home.networks
        if other.spread("auroc").n
    ]
    if not pairs:
        return []
    of_lead = [pair for pair in pairs if pair[0].label == cell.label]
    other, home = max(of_lead or pairs, key=_merit)
    name = "it" if of_lead else other.label
    text = f"Random splits would have given {name} {decimal(other.spread('auroc').median)}"
    if margin := best_margins(differences[home.slug], "auroc").get(other.label):
        difference = decimal(margin.test.difference, sign=True)
        text += f", {difference} over {margin.second}"
    optimistic = ", with the epoch chosen on the test split" * (other.chosen_on == "test")
    return [f"{text}{optimistic}."]


def _choice(cell: Cell, group: Group) -> str:
    """How its setting was chosen among several of one name."""
    same = [c for c in group.networks if c.name == cell.name and len(c.trials) == len(cell.trials)]
    if len(same) < 2:
        return ""
    split = _ranked_on(cell)
    bias = ", which is optimistic" * (split == "test")
    return f", the best of {len(same)} settings on the {split} split{bias}"


def _states(problems: Sequence[Problem]) -> str:
    states = Counter(problem.state for problem in problems)
    return ", ".join(f"{n} {state}" for state, n in states.most_common()) or "nothing"


def _starting(text: str) -> str:
    return text[:1].upper() + text[1:]
