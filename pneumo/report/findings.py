"""The findings of a report: two sentences that stand alone, what limits them, and caveats."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from math import isnan

import pandas as pd

from pneumo.report.comparisons import MOST_COMPARED, best_margins
from pneumo.report.groups import DEBUG, Cell, Group
from pneumo.report.latex import commits
from pneumo.report.templates import text_template
from pneumo.report.trials import Problem

Lead = tuple[Cell, Group]
PLACES = {
    "official": "on the official test set",
    "own": "on the set's own test split",
    "holdout": "on random test splits",
    "paper": "on random test splits",
    "kfold": "on folds drawn at random",
}


def findings(
    groups: Sequence[Group], *, problems: Sequence[Problem], differences: pd.DataFrame
) -> list[str]:
    """Returns the score of the best honest network, what random splits would say, and what fails.

    Honest is a score whose epoch was not chosen on the test split. Among the honest networks of
    the first protocol, that with the most trials leads, the best on validation of equals.
    """
    lead = leading(groups)
    other = _random(lead, groups) if lead else None
    states = Counter(problem.state for problem in problems).most_common()
    text = text_template("findings.j2").render(
        lead=lead,
        other=other,
        margin=_margin(lead, differences),
        other_margin=_margin(other, differences),
        settings=_settings(*lead) if lead else 0,
        ranked_on=_ranked_on(lead[0]) if lead else "",
        places=PLACES,
        states=", ".join(f"{n} {state}" for state, n in states) or "nothing",
    )
    return [line for line in text.splitlines() if line]


def caveats(group: Group, *, num_differing: int) -> list[str]:
    """Returns missing runs, single trials, mixed settings and versions, undefined scores.

    ``num_differing``: settings in which the networks differ.
    """
    missing, remarks = defaultdict(list), []
    for cell in group.cells:
        if cell.missing:
            planned = len(cell.trials) + len(cell.missing)
            runs = f"{len(cell.trials)} of {planned} runs"
            missing[f"{runs}; missing {_by_reason(cell.missing)}"].append(cell.label)
        names = defaultdict(list)
        for trial in cell.trials:
            for remark in trial.remarks:
                names[remark].append(trial.name)
        for remark, same in names.items():
            who = f"{cell.label}, {len(same)} of {len(cell.trials)} trials"
            remarks.append(f"{who if len(same) > 1 else same[0]}: {remark}.")
    seeds = (sorted({trial.split[at] for trial in group.trials} - {None}) for at in (0, 1))
    text = text_template("caveats.j2").render(
        group=group,
        single=[cell.label for cell in group.cells if len(cell.trials) == 1],
        most_compared=MOST_COMPARED,
        num_differing=num_differing,
        chosen=[cell.label for cell in group.networks if cell.chosen_on == "test"],
        splits=dict(zip(("seed", "protocol.fold"), seeds, strict=True)),
        missing=missing,
        remarks=remarks,
        commits=commits,
    )
    return [line for line in text.splitlines() if line]


def leading(groups: Sequence[Group]) -> Lead | None:
    """Returns the network that the report opens with, and its group; a baseline if alone."""
    every = [(cell, group) for group in groups for cell in group.cells]
    every = [(c, g) for c, g in every if c.spread("auroc").n] or every
    networks = [(c, g) for c, g in every if not c.is_baseline] or every
    networks = [(c, g) for c, g in networks if g.kind == networks[0][1].kind]
    networks = [(c, g) for c, g in networks if g.protocol != DEBUG] or networks
    best = [(c, g) for c, g in networks if c.chosen_on != "test"] or networks
    return max((pair for pair in best if pair[1] is best[0][1]), key=_merit, default=None)


def _merit(pair: Lead) -> tuple[int, float]:
    merit = pair[0].spread("f1_normal", split=_ranked_on(pair[0])).median
    return len(pair[0].trials), -1.0 if isnan(merit) else merit


def _ranked_on(cell: Cell) -> str:
    """The split by which settings are ranked: validation, or test if there is none."""
    has_val = cell.chosen_on != "test" and cell.spread("f1_normal", split="val").n
    return "val" if has_val else "test"


def _settings(cell: Cell, group: Group) -> int:
    """How many settings of its name have as many trials, of which it is the best."""
    alike = [c for c in group.networks if c.name == cell.name]
    return sum(len(c.trials) == len(cell.trials) for c in alike)


def _margin(pair: Lead | None, differences: pd.DataFrame) -> object:
    """The margin of AUROC over the best baseline; None if unknown."""
    if pair is None:
        return None
    of_group = differences[differences["group"] == pair[1].slug]
    return best_margins(of_group, "auroc").get(pair[0].label)


def _random(lead: Lead, groups: Sequence[Group]) -> Lead | None:
    """The same network on random splits, or else the best there; None without random splits."""
    pairs = [
        (cell, group)
        for group in groups
        if group.kind == lead[1].kind and group.protocol in ("paper", "holdout", "kfold")
        for cell in group.networks
        if cell.spread("auroc").n
    ]
    of_lead = [pair for pair in pairs if pair[0].label == lead[0].label]
    return max(of_lead or pairs, key=_merit, default=None)


def _by_reason(missing: Sequence[str]) -> str:
    """Splits that are missing for one reason together: "seed 1, seed 2 (no such run)"."""
    by_reason = defaultdict(list)
    for text in missing:
        split, _, reason = text.partition(" (")
        by_reason[reason].append(split)
    return "; ".join(f"{', '.join(splits)} ({reason}" for reason, splits in by_reason.items())
