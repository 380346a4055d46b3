"""Ensembles named in the configuration of runs: networks of one split, scored together."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from pneumo.evaluation.metrics import Array, confusion
from pneumo.evaluation.operating_point import fit_weights, vote_share
from pneumo.evaluation.scores import scores
from pneumo.report.groups import Cell, Group
from pneumo.report.trials import Trial, number, split_name

NO_MEMBER = "a member needs one finished run of the same split and classes"
NO_WEIGHTS = "no weights, since its members have no common validation split"


def add_ensembles(groups: Sequence[Group]) -> None:
    """Adds to each group the ensembles that its runs name, and why some lack members."""
    for group in groups:
        by_split: dict[Any, list[Trial]] = defaultdict(list)
        for trial in group.trials:
            for name, names in trial.ensembles.items():
                if trial.model in names:
                    by_split[name, tuple(names), trial.drawn].append(trial)
        reasons: dict[tuple[Any, ...], list[str]] = defaultdict(list)  # to names of splits
        cells: dict[tuple[str, ...], Cell] = {}  # by label and names of members
        for (name, names, split), trials in by_split.items():
            scored, missing = _scored(name, names, trials)
            for reason in missing:
                reasons[name, names, reason].append(split_name(split[:2]))
            for trial in scored:
                cell = Cell(trial.model, trial.model, trial.settings, [])
                cells.setdefault((trial.model, *names), cell).trials.append(trial)
        labels = Counter(label for label, *_ in cells)
        for (label, *names), cell in cells.items():
            if labels[label] > 1:  # two sweeps call other networks by one name
                cell.label = f"{label} ({', '.join(names)})"
        group.ensembles = list(cells.values())
        group.incomplete = [
            f"Ensemble {name}: {reason} ({', '.join(splits)})."
            for (name, _, reason), splits in reasons.items()
        ]


def _scored(
    name: str, names: Sequence[str], trials: Sequence[Trial]
) -> tuple[list[Trial], list[str]]:
    """The ensembles of one split, a trial for each way, and what they lack."""
    members = _members(names, trials)
    if len(members) < 2:
        return [], [f"not scored, fewer than two members: {NO_MEMBER}"]
    lacking = [each for each in names if each not in {m.model for m in members}]
    missing = [f"without {', '.join(lacking)}: {NO_MEMBER}"] if lacking else []
    probability, weights = np.stack([m.probability for m in members]), _weights(members)
    ways = {"mean": np.asarray(probability.mean(0))}
    if weights is not None:
        ways["weighted mean"] = np.asarray(weights @ probability)
    ways["vote"] = vote_share(probability)
    size = f"{len(members)}" + f" of {len(names)}" * (len(members) < len(names))
    scored = [_combined(f"{name}, {way} of {size}", members, p) for way, p in ways.items()]
    return scored, missing + [NO_WEIGHTS] * (weights is None)


def _members(names: Sequence[str], trials: Sequence[Trial]) -> list[Trial]:
    """One trial of each member, of those with the split and the classes of most trials."""
    kinds = {id(t): (t.split_sha256, t.metrics.get("num_classes")) for t in trials if t.label.size}
    most = Counter(kinds.values()).most_common(1)
    alike = [trial for trial in trials if most and kinds.get(id(trial)) == most[0][0]]
    models = Counter(trial.model for trial in alike)
    return [t for name in names for t in alike if t.model == name and models[name] == 1]


def _combined(label: str, members: Sequence[Trial], combined: Array) -> Trial:
    """The trial of all members as one model; sizes and seconds are sums over the members."""
    first, of = members[0], [member.metrics for member in members]
    chosen_on = {str((each.get("selection") or {}).get("on")) for each in of}
    table = confusion(first.label, combined >= 0.5).tolist()
    epoch_seconds = sum(m.count("train", "images") / m.images_per_second for m in members)
    metrics = {
        **{key: of[0].get(key) for key in ("seed", "fold", "protocol", "data", "num_classes")},
        "model": label,
        "best": {"test": {**scores(first.label, combined), "confusion": table}},
        "last": {},
        "history": [{"seconds": epoch_seconds}],  # the members' epochs, one after another
        **{key: sum(number(m, key) for m in of) for key in ("parameters", "multiply_adds")},
        "seconds": {k: sum(number(m.get("seconds"), k) for m in of) for k in ("train", "total")},
    }
    return Trial(
        f"{first.name}: {label}",
        metrics,
        settings={"chosen_on": "test" if "test" in chosen_on else chosen_on.pop()},
        test=first.test.assign(probability=combined),
        members=tuple(member.model for member in members),
    )


def _weights(members: Sequence[Trial]) -> Array | None:
    """(M,) fitted on the validation split of all members; None if they share none."""
    val = [member.val for member in members]
    if val[0].empty or not all(each["path"].equals(val[0]["path"]) for each in val):
        return None
    probability = np.stack([each["probability"] for each in val])
    return fit_weights(val[0]["label"].to_numpy(), probability)
