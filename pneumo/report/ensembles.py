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

WAYS = {"mean": "mean", "weighted": "weighted mean", "vote": "vote"}
Named = tuple[str, tuple[str, ...]]  # an ensemble's name, and its members
NO_MEMBER = "a member needs one finished run of the same split and classes"
NO_WEIGHTS = "no weights, since its members have no common validation split"


def add_ensembles(groups: Sequence[Group]) -> None:
    """Adds to each group the ensembles that its runs name, and why some lack members."""
    for group in groups:
        reasons: dict[tuple[Named, str], list[str]] = defaultdict(list)  # to names of splits
        cells: dict[str, Cell] = {}
        for (ensemble, split), trials in _by_ensemble_and_split(group).items():
            members = _members(ensemble[1], trials)
            lacking = [name for name in ensemble[1] if name not in {m.model for m in members}]
            missing = [f"without {', '.join(lacking)}: {NO_MEMBER}"] if lacking else []
            weights = _weights(members) if len(members) > 1 else None
            if len(members) < 2:
                missing = [f"not scored, fewer than two members: {NO_MEMBER}"]
            elif weights is None:
                missing.append(NO_WEIGHTS)
            for reason in missing:
                reasons[ensemble, reason].append(split_name(split))
            for way in WAYS if len(members) > 1 else ():
                if way != "weighted" or weights is not None:
                    trial = _combined(ensemble, members, way, weights)
                    cell = Cell(trial.model, trial.model, trial.settings, [])
                    cells.setdefault(trial.model, cell).trials.append(trial)
        group.ensembles = list(cells.values())
        group.incomplete = [
            f"Ensemble {name}: {reason} ({', '.join(splits)})."
            for ((name, _), reason), splits in reasons.items()
        ]


def _by_ensemble_and_split(group: Group) -> dict[tuple[Named, tuple[Any, Any]], list[Trial]]:
    """The trials of the runs that name an ensemble and are of one of its members."""
    trials: dict[tuple[Named, tuple[Any, Any]], list[Trial]] = defaultdict(list)
    for trial in group.trials:
        for name, members in trial.ensembles.items():
            if trial.model in members:
                trials[(name, tuple(members)), trial.split].append(trial)
    return trials


def _members(names: Sequence[str], trials: Sequence[Trial]) -> list[Trial]:
    """One trial of each member, of those with the split and the classes of most trials."""

    def kind(trial: Trial) -> tuple[Any, ...]:
        return trial.split_sha256, trial.metrics.get("num_classes")

    known = [trial for trial in trials if trial.label.size]
    most, _ = Counter(map(kind, known)).most_common(1)[0] if known else (None, 0)
    alike = [trial for trial in known if kind(trial) == most]
    models = Counter(trial.model for trial in alike)
    return [t for name in names for t in alike if t.model == name and models[name] == 1]


def _combined(ensemble: Named, members: Sequence[Trial], way: str, weights: Array | None) -> Trial:
    """The trial of all members as one model; ``weights`` (M,) for the weighted mean only."""
    probability = np.stack([member.probability for member in members])
    shares = np.full(len(members), np.nan)
    if way == "vote":
        combined = vote_share(probability)
    elif way == "weighted" and weights is not None:
        combined, shares = np.asarray(weights @ probability), weights
    else:
        combined = np.asarray(probability.mean(0))
    first, (name, named) = members[0], ensemble
    size = f"{len(members)}" + f" of {len(named)}" * (len(members) < len(named))
    label = f"{name}, {WAYS[way]} of {size}"
    chosen_on = {str((member.metrics.get("selection") or {}).get("on")) for member in members}
    return Trial(
        f"{first.name}: {label}",
        _metrics(label, members, combined),
        settings={"chosen_on": "test" if "test" in chosen_on else chosen_on.pop()},
        test=first.test.assign(probability=combined),
        members=tuple((m.model, float(share)) for m, share in zip(members, shares, strict=True)),
    )


def _metrics(label: str, members: Sequence[Trial], combined: Array) -> dict[str, Any]:
    """metrics.json of an ensemble: its scores; sizes and seconds are sums over the members."""
    first = members[0]
    table = confusion(first.label, combined >= 0.5).tolist()
    epoch_seconds = sum(m.count("train", "images") / m.images_per_second for m in members)

    def total(key: str, of: str | None = None) -> float:
        return sum(number(m.metrics.get(of) if of else m.metrics, key) for m in members)

    return {
        **{key: first.metrics.get(key) for key in ("seed", "fold", "protocol", "data")},
        "num_classes": first.metrics.get("num_classes"),
        "model": label,
        "best": {"test": {**scores(first.label, combined), "confusion": table}},
        "last": {},
        "history": [{"seconds": epoch_seconds}],  # the members' epochs, one after another
        "parameters": total("parameters"),
        "multiply_adds": total("multiply_adds"),
        "seconds": {key: total(key, of="seconds") for key in ("train", "total")},
    }


def _weights(members: Sequence[Trial]) -> Array | None:
    """(M,) fitted on the validation split of all members; None if they share none."""
    val = [member.val for member in members]
    if val[0].empty or not all(each["path"].equals(val[0]["path"]) for each in val):
        return None
    probability = np.stack([each["probability"] for each in val])
    return fit_weights(val[0]["label"].to_numpy(), probability)
