"""What a reader must know before trusting a group's numbers, one sentence each."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from pneumo.report.comparisons import MOST_COMPARED
from pneumo.report.groups import DEBUG, Group, varying_keys
from pneumo.report.pareto import device
from pneumo.report.recipes import differing

MOST_NAMED = 3  # models in a sentence; more are counted


def caveats(group: Group) -> list[str]:
    """Returns missing runs, single trials, mixed settings and versions, undefined scores."""
    return [
        *_too_few(group),
        *_baselines(group),
        *_mixed_settings(group),
        *_missing(group),
        *group.incomplete,
        *_mixed_versions(group),
        *_remarks(group),
    ]


def _missing(group: Group) -> Iterator[str]:
    """Cells that lack the same splits for the same reasons share a sentence."""
    labels = defaultdict(list)
    for cell in group.cells:
        if cell.missing:
            num_planned = len(cell.trials) + len(cell.missing)
            runs = f"{len(cell.trials)} of {num_planned} runs"
            labels[f"{runs}; missing {_by_reason(cell.missing)}."].append(cell.label)
    for text, names in labels.items():
        yield f"{', '.join(names)}: {text}"


def _by_reason(missing: Sequence[str]) -> str:
    """Splits that are missing for one reason together: "seed 1, seed 2 (no such run)"."""
    by_reason = defaultdict(list)
    for text in missing:
        split, _, reason = text.partition(" (")
        by_reason[reason].append(split)
    return "; ".join(f"{', '.join(splits)} ({reason}" for reason, splits in by_reason.items())


def _too_few(group: Group) -> Iterator[str]:
    if single := [cell.label for cell in group.cells if len(cell.trials) == 1]:
        few = len(single) > MOST_NAMED
        names = f"{len(single)} of {len(group.cells)} models" if few else ", ".join(single)
        yield f"{names}: one trial only, so no spread and no comparison over splits."
    if (count := len(group.networks)) > MOST_COMPARED:
        yield f"Only the first {MOST_COMPARED} of {count} networks are compared with each other."


def _baselines(group: Group) -> Iterator[str]:
    chosen = [cell.label for cell in group.networks if cell.chosen_on == "test"]
    if chosen and group.baselines:
        yield (
            f"The epoch of {', '.join(chosen)} was chosen on the test split, while baselines have "
            "no epochs: margins over the baselines are optimistic for the network."
        )
    if group.baselines or group.protocol == DEBUG:
        return
    settings = f" data={group.kind}"
    for at, key in enumerate(("seed", "protocol.fold")):
        values = sorted({t.split[at] for t in group.trials} - {None})
        settings += f" {key}={','.join(map(str, values))}" if values else ""
    yield (
        "No baseline was run on these splits, so the report cannot show what a network adds to the "
        "file's header or a thumbnail. To add baselines: python -m pneumo.train -m "
        f"model=thumbnail_svm,file_header,prior protocol={group.protocol}{settings}"
    )


def _mixed_settings(group: Group) -> Iterator[str]:
    by_model = defaultdict(list)
    for cell in (*group.networks, *group.baselines):
        by_model[cell.model].append(cell.settings)
    for model, settings in by_model.items():
        if keys := varying_keys(settings):
            yield (
                f"{model} was trained with different {', '.join(keys)}: "
                "each setting has its row, and none is averaged with another."
            )
    if names := differing(group):
        keys = [name[:1].lower() + name[1:] for name in names]
        yield (
            f"The networks were trained by different recipes, which differ in {', '.join(keys)}: "
            "their scores compare recipes, not networks alone."
        )


def _mixed_versions(group: Group) -> Iterator[str]:
    commits = Counter(str(t.metrics.get("git_commit"))[:9] for t in group.trials)
    if len(commits) > 1:
        counts = ", ".join(f"{n} of {commit}" for commit, n in commits.most_common())
        yield f"The runs were made by {len(commits)} versions of the code: {counts}."
    machines = Counter(device(trial) for cell in group.networks for trial in cell.trials)
    if len(machines) > 1:
        counts = ", ".join(f"{n} on {machine}" for machine, n in machines.most_common())
        yield f"The seconds were measured on different machines: {counts}."


def _remarks(group: Group) -> Iterator[str]:
    """Each remark once a network, with the trial's name if it is on one only."""
    for cell in group.cells:
        names = defaultdict(list)
        for trial in cell.trials:
            for remark in trial.remarks:
                names[remark].append(trial.name)
        for remark, (name, *others) in names.items():
            who = f"{cell.label}, {1 + len(others)} of {len(cell.trials)} trials"
            yield f"{who if others else name}: {remark}."
