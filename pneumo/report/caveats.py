"""What a reader must know before trusting a group's numbers, one sentence each."""

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from pneumo.report.comparisons import MOST_COMPARED
from pneumo.report.groups import DEBUG, Group, varying_keys
from pneumo.report.pareto import device
from pneumo.report.recipes import differing
from pneumo.report.trials import number

SHARE_VARIES = 0.03  # of the test split: splits by patient differ a little, protocols more


def caveats(group: Group) -> list[str]:
    """Missing runs, single trials, mixed settings, versions and machines, undefined scores."""
    return [
        *_missing(group),
        *group.lacking,
        *_too_few(group),
        *_no_baseline(group),
        *_optimistic(group),
        *_mixed_settings(group),
        *_mixed_versions(group),
        *_mixed_shares(group),
        *_remarks(group),
    ]


def _missing(group: Group) -> list[str]:
    return [
        f"{cell.label}: {len(cell.trials)} of {len(cell.trials) + len(cell.missing)} runs; "
        f"missing {_by_reason(cell.missing)}."
        for cell in group.cells
        if cell.missing
    ]


def _by_reason(missing: Sequence[str]) -> str:
    """Splits that are missing for one reason together: "seed 1, seed 2 (no such run)"."""
    by_reason = defaultdict(list)
    for text in missing:
        split, _, reason = text.partition(" (")
        by_reason[reason].append(split)
    return "; ".join(f"{', '.join(splits)} ({reason}" for reason, splits in by_reason.items())


def _too_few(group: Group) -> list[str]:
    notes, count = [], len(group.networks)
    if single := [cell.label for cell in group.cells if len(cell.trials) == 1]:
        notes.append(
            f"{', '.join(single)}: one trial only, so no spread and no comparison over splits."
        )
    if count > MOST_COMPARED:
        notes.append(f"Of {count} networks the first {MOST_COMPARED} are compared with each other.")
    return notes


def _no_baseline(group: Group) -> list[str]:
    if group.baselines or group.protocol == DEBUG:
        return []
    seeds = sorted({t.split[0] for t in group.trials if t.split[0] is not None})
    folds = sorted({t.split[1] for t in group.trials if t.split[1] is not None})
    settings = f" data={group.kind}"
    settings += f" seed={','.join(map(str, seeds))}" if seeds else ""
    settings += f" protocol.fold={','.join(map(str, folds))}" if folds else ""
    return [
        "No baseline was run on these splits, so nothing here says what a network adds to the "
        "file's header or a thumbnail. To have them in this report: python -m pneumo.train -m "
        f"model=thumbnail_svm,file_header,prior protocol={group.protocol}{settings}"
    ]


def _optimistic(group: Group) -> list[str]:
    chosen = [cell.label for cell in group.networks if cell.chosen_on == "test"]
    if not chosen or not group.baselines:
        return []
    return [
        f"The epoch of {', '.join(chosen)} was chosen on the test split, and a baseline has none "
        "to choose: margins over the baselines are optimistic for the network."
    ]


def _mixed_settings(group: Group) -> list[str]:
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
    if names := differing(group):
        settings_list = ", ".join(name[:1].lower() + name[1:] for name in names)
        notes.append(
            f"The networks were trained by different recipes, which differ in {settings_list}: "
            "their scores compare recipes, not networks alone."
        )
    return notes


def _mixed_versions(group: Group) -> list[str]:
    commits = Counter(str(t.metrics.get("git_commit"))[:9] for t in group.trials)
    machines = Counter(device(trial) for cell in group.networks for trial in cell.trials)
    notes = []
    if len(commits) > 1:
        counts = ", ".join(f"{n} at {commit}" for commit, n in commits.most_common())
        notes.append(f"The runs are of {len(commits)} versions of the code: {counts}.")
    if len(machines) > 1:
        counts = ", ".join(f"{n} on {machine}" for machine, n in machines.most_common())
        notes.append(f"The seconds are of different machines: {counts}.")
    return notes


def _mixed_shares(group: Group) -> list[str]:
    share = {
        t.name: t.count("test", "images") / total
        for t in group.trials
        if (total := number(t.metrics["data"], "images")) > 0
    }
    share = {name: value for name, value in share.items() if np.isfinite(value)}
    if not share or max(share.values()) - min(share.values()) <= SHARE_VARIES:
        return []
    least, most = min(share, key=lambda n: share[n]), max(share, key=lambda n: share[n])
    return [
        f"The test splits differ in size, from {share[least]:.0%} of the images ({least}) to "
        f"{share[most]:.0%} ({most})."
    ]


def _remarks(group: Group) -> list[str]:
    """Each remark once a network, with the trial's name if it is on one only."""
    notes = []
    for cell in group.cells:
        names = defaultdict(list)
        for trial in cell.trials:
            for remark in trial.remarks:
                names[remark].append(trial.name)
        for remark, (name, *others) in names.items():
            who = f"{cell.label}, {1 + len(others)} of {len(cell.trials)} trials"
            notes.append(f"{who if others else name}: {remark}.")
    return notes
