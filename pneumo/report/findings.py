"""The findings of a report: two sentences that stand alone, what limits them, and caveats."""

import shlex
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from math import isnan
from typing import Any

import pandas as pd

from pneumo.report.checklists import patients_unknown
from pneumo.report.comparisons import MOST_COMPARED, best_margins
from pneumo.report.groups import DEBUG, Cell, Group
from pneumo.report.templates import render_text
from pneumo.report.trials import DRAWN, Problem, Trial
from pneumo.runs.run import Run

MOST_NAMED = 3  # networks in a caveat
BASELINES = "thumbnail_svm,file_header,prior"
OF_IMAGES = (  # overrides that choose the images and their split
    *("data=", "data.root=", "data.csv=", "data.num_images=", "data.seed=", "data.source."),
    *("data.patient_key=", "data.on_unknown_name=", "protocol."),
)
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
    """Returns the best score without selection on test data, that on random splits, and failures.

    Honest is a score whose epoch was not chosen on the test split. Among the honest networks of
    the first protocol, that with the most trials leads, the best on validation of equals.
    """
    candidates = leading(groups)
    lead = candidates[0] if candidates else None
    other = _random(lead, groups) if lead else None

    def margin(pair: Lead) -> Any:
        of_group = differences[differences["group"] == pair[1].slug]
        return best_margins(of_group, "auroc").get(pair[0].label)

    states = Counter(problem.state for problem in problems).most_common()
    return render_text(
        "findings.j2",
        lead=lead,
        other=other,
        margin=margin,
        among=len(candidates),
        has_others=len({(group.kind, group.index) for group in groups}) > 1,
        names={cell.name for cell, _ in candidates},
        ranked_on=_ranked_on,
        places=PLACES,
        states=", ".join(f"{n} {state}" for state, n in states) or "nothing",
    )


def caveats(group: Group) -> list[str]:
    """Returns unknown patients, single trials, mixed recipes and versions, and missing members."""
    single = [cell.label for cell in group.cells if len(cell.trials) == 1]
    if len(single) > MOST_NAMED:
        single = [f"{len(single)} of {len(group.cells)} models"]
    chosen = ", ".join(cell.label for cell in group.networks if cell.chosen_on == "test")
    recipes = {
        repr(sorted((k, v) for k, v in cell.settings.items() if not k.startswith("model.")))
        for cell in group.networks
    }
    settings = {"model": BASELINES, "protocol": group.protocol, "data": group.kind}
    overrides = (text for text in group.trials[0].overrides if text.startswith(OF_IMAGES))
    settings |= dict(text.split("=", 1) for text in overrides)
    settings["callbacks.checkpoint.monitor"] = "last"  # baselines have no epochs
    for at, key in enumerate(("seed", "protocol.fold")):
        if values := sorted({trial.split[at] for trial in group.trials} - {None}):
            settings[key] = ",".join(map(str, values))
    add = shlex.join(["python", "-m", "pneumo.train", "-m", *map("=".join, settings.items())])
    versions = commits(group.trials)
    unknown = (t.metrics["data"]["note"] for t in group.trials if patients_unknown(t.metrics))
    sentences = {
        **dict.fromkeys(unknown, True),
        f"{', '.join(single)}: one trial only, so no spread and no comparison over splits.": single,
        f"Only the first {MOST_COMPARED} of {len(group.networks)} networks are compared with each "
        "other.": len(group.networks) > MOST_COMPARED,
        f"The epoch of {chosen} was chosen on the test split, while baselines have no epochs: "
        "margins over the baselines are optimistic for the network.": chosen and group.baselines,
        "No baseline was run on these splits, so the report cannot show what a network adds to the "
        f"file's header or a thumbnail. To add baselines: {add}": (
            not group.baselines and group.protocol != DEBUG
        ),
        "The networks were trained by different recipes: their scores compare recipes, not "
        "networks alone.": len(recipes) > 1,
        **dict.fromkeys(group.incomplete, True),
        f"The runs were made by several versions of the code, {versions}.": "," in versions,
    }
    remarks = defaultdict(list)
    for cell in group.cells:
        for trial, remark in ((t, text) for t in cell.trials for text in t.remarks):
            remarks[cell.label, remark].append((trial.name, len(cell.trials)))
    for (label, remark), runs in remarks.items():
        (name, of), num = runs[0], len(runs)
        who = f"{label}, {num} of {of} trials" if num > 1 else name
        sentences[f"{who}: {remark}."] = True
    return [sentence for sentence, holds in sentences.items() if holds]


def commits(runs: Iterable[Trial | Run]) -> str:
    """Returns the git commits of runs, each with the number of its runs: abc1234 (9)."""
    hashes = ((run.metrics.get("git_commit") or "")[:9] for run in runs)
    counts = Counter(commit or "an unknown commit" for commit in hashes)
    shown = ", ".join(f"{commit} ({count})" for commit, count in counts.most_common())
    return "commits " * (len(counts) > 1) + shown


def leading(groups: Sequence[Group]) -> list[Lead]:
    """Returns the networks among which the first is best, with their group; baselines if alone.

    All have as many trials, and are ranked on the same split.
    """
    pairs = [(cell, group) for group in groups for cell in group.cells]
    wanted: tuple[Callable[[Cell, Group], Any], ...] = (
        lambda cell, _: cell.spread("auroc").n,
        lambda cell, _: not cell.is_baseline,
        lambda _, group: group.kind == pairs[0][1].kind,
        lambda _, group: group.protocol != DEBUG,
        lambda cell, _: cell.chosen_on != "test",
        lambda _, group: group is pairs[0][1],
    )
    for holds in wanted:
        pairs = [pair for pair in pairs if holds(*pair)] or pairs
    pairs.sort(key=_merit, reverse=True)
    return [pair for pair in pairs if _merit(pair)[:2] == _merit(pairs[0])[:2]]


def _merit(pair: Lead) -> tuple[int, bool, float]:
    split = _ranked_on(pair[0])
    merit = pair[0].spread("f1_normal", split=split).median
    return len(pair[0].trials), split == "val", -1.0 if isnan(merit) else merit


def _ranked_on(cell: Cell) -> str:
    """The split by which settings are ranked: validation, or test if there is none."""
    has_val = cell.chosen_on != "test" and cell.spread("f1_normal", split="val").n
    return "val" if has_val else "test"


def _random(lead: Lead, groups: Sequence[Group]) -> Lead | None:
    """The same network on random splits, or else the best there; None without random splits."""
    pairs = [
        (cell, group)
        for group in groups
        if (group.kind, group.index) == (lead[1].kind, lead[1].index) and group.protocol in DRAWN
        for cell in group.networks
        if cell.spread("auroc").n
    ]
    of_lead = [pair for pair in pairs if pair[0].label == lead[0].label]
    return max(of_lead or pairs, key=_merit, default=None)
