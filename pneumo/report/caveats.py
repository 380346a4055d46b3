"""What a reader must know before trusting a group's numbers, a sentence each."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence

import numpy as np

from pneumo.report.comparisons import MOST_COMPARED
from pneumo.report.groups import DEBUG, Group, varying_keys
from pneumo.report.recipes import recipes
from pneumo.report.trials import Trial, number

SHARE_VARIES = 0.03  # of the test split: splits by patient differ a little, protocols more


def caveats(group: Group) -> list[str]:
    """Missing runs, single trials, mixed settings, versions and machines, undefined scores."""
    checks: Sequence[Callable[[Group], list[str]]] = (
        _note_missing,
        lambda group: group.lacking,
        _note_few,
        _note_most,
        _note_no_baseline,
        _note_choice,
        _note_settings,
        _note_versions,
        _note_shares,
        _note_remarks,
    )
    return [note for check in checks for note in check(group)]


def _note_missing(group: Group) -> list[str]:
    return [
        f"{cell.label}: {len(cell.trials)} of {len(cell.trials) + len(cell.missing)} runs; "
        f"missing {_together(cell.missing)}."
        for cell in group.cells
        if cell.missing
    ]


def _together(missing: Sequence[str]) -> str:
    """Splits that are missing for one reason, told once: "seed 1, seed 2 (no such run)"."""
    by_reason = defaultdict(list)
    for one in missing:
        split, _, reason = one.partition(" (")
        by_reason[reason].append(split)
    return "; ".join(f"{', '.join(splits)} ({reason}" for reason, splits in by_reason.items())


def _note_few(group: Group) -> list[str]:
    single = [cell.label for cell in group.cells if len(cell.trials) == 1]
    if not single:
        return []
    return [f"{', '.join(single)}: one trial only, so no spread and no comparison over splits."]


def _note_most(group: Group) -> list[str]:
    count = len(group.networks)
    if count <= MOST_COMPARED:
        return []
    return [f"Of {count} networks the first {MOST_COMPARED} are compared with each other."]


def _note_no_baseline(group: Group) -> list[str]:
    if group.baselines or group.protocol == DEBUG:
        return []
    seeds = sorted({int(t.split[0]) for t in group.trials if isinstance(t.split[0], int)})
    told = f" seed={','.join(map(str, seeds))}" if seeds else ""
    folds = sorted({t.split[1] for t in group.trials if t.split[1] is not None})
    told += f" protocol.fold={','.join(map(str, folds))}" if folds else ""
    data = "" if group.kind == "kermany" else f" data={group.kind}"
    return [
        "No baseline was run on these splits, so nothing here says what a network adds to the "
        "file's header or a thumbnail. To have them in this report: python -m pneumo.train -m "
        f"model=thumbnail_svm,file_header,prior protocol={group.protocol}{data}{told}"
    ]


def _note_choice(group: Group) -> list[str]:
    chosen = [cell.label for cell in group.networks if cell.settings.get("chosen_on") == "test"]
    if not chosen or not group.baselines:
        return []
    return [
        f"The epoch of {', '.join(chosen)} was chosen on the test split, and a baseline has none "
        "to choose: margins over the baselines are optimistic for the network."
    ]


def _note_settings(group: Group) -> list[str]:
    notes = []
    by_model = defaultdict(list)
    for cell in (*group.networks, *group.baselines):
        by_model[cell.model].append(cell.settings)
    for model, settings in by_model.items():
        if keys := varying_keys(settings):
            notes.append(
                f"{model} was trained with different {', '.join(keys)}: "
                "each setting has a row of its own, none averaged with another."
            )
    if differ := [row["setting"] for row in recipes(group)[1]]:
        told = ", ".join(name[:1].lower() + name[1:] for name in differ)
        notes.append(
            f"The networks were trained by different recipes, which differ in {told}: their scores "
            "compare recipes, not networks alone."
        )
    return notes


def _note_versions(group: Group) -> list[str]:
    commits = Counter(str(t.metrics.get("git_commit"))[:9] for t in group.trials)
    timed = [trial for cell in group.networks for trial in cell.trials]
    machines = Counter(device(trial) for trial in timed)
    notes = []
    if len(commits) > 1:
        told = ", ".join(f"{n} at {commit}" for commit, n in commits.most_common())
        notes.append(f"The runs are of {len(commits)} versions of the code: {told}.")
    if len(machines) > 1:
        told = ", ".join(f"{n} on {machine}" for machine, n in machines.most_common())
        notes.append(f"The seconds are of different machines: {told}.")
    return notes


def device(trial: Trial) -> str:
    """What a run was timed on, in words; earlier versions wrote "1 threads"."""
    told = str((trial.metrics.get("machine") or {}).get("device"))
    return re.sub(r"\b1 threads\b", "1 thread", told)


def _note_shares(group: Group) -> list[str]:
    share = {
        t.name: t.count("test", "images") / number(t.metrics["data"], "images")
        for t in group.trials
        if number(t.metrics["data"], "images") > 0
    }
    known = {name: value for name, value in share.items() if np.isfinite(value)}
    if not known or max(known.values()) - min(known.values()) <= SHARE_VARIES:
        return []
    least, most = min(known, key=lambda n: known[n]), max(known, key=lambda n: known[n])
    return [
        f"The test splits differ in size, from {known[least]:.0%} of the images ({least}) to "
        f"{known[most]:.0%} ({most})."
    ]


def _note_remarks(group: Group) -> list[str]:
    """Each remark once a row of the report, with the trial's name where it is of one only."""
    notes = []
    for cell in group.cells:
        count = Counter(remark for trial in cell.trials for remark in trial.remarks)
        for remark, n in count.items():
            name = next(t.name for t in cell.trials if remark in t.remarks)
            who = name if n == 1 else f"{cell.label}, {n} of {len(cell.trials)} trials"
            notes.append(f"{who}: {remark}.")
    return notes
