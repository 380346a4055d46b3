"""Ensembles that runs name in their configuration: members of one split, scored together."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from pneumo.evaluation.metrics import Array, confusion
from pneumo.evaluation.operating_point import fit_weights, vote_share
from pneumo.evaluation.scores import scores
from pneumo.report.groups import Cell, Group
from pneumo.report.trials import Predictions, Trial, number, split_name

WAYS = {"mean": "mean", "weighted": "weighted mean", "vote": "vote"}
NO_WEIGHTS = "no weights, since its members have no common validation split"


class Named(NamedTuple):
    """An ensemble as an experiment's configuration names it."""

    name: str
    members: tuple[str, ...]


def add_ensembles(groups: Sequence[Group]) -> None:
    """Adds to each group the ensembles that its runs name, and why some are incomplete."""
    for group in groups:
        lacking: dict[tuple[Named, str], list[str]] = defaultdict(list)
        cells: dict[str, Cell] = {}
        for (named, split), trials in _by_name_and_split(group).items():
            members = _members(named, trials, lacking)
            if len(members) < 2:
                lacking[named, "not scored, fewer than two members"].append(split_name(split))
                continue
            weights = _weights(members)
            if weights is None:
                lacking[named, NO_WEIGHTS].append(split_name(split))
            for way in WAYS:
                if way == "weighted" and weights is None:
                    continue
                trial = _combined(named, members, way, weights)
                cell = Cell(trial.model, trial.model, trial.settings, [])
                cells.setdefault(trial.model, cell).trials.append(trial)
        group.ensembles = list(cells.values())
        group.lacking = [
            f"Ensemble {named.name}: {what} ({', '.join(dict.fromkeys(splits))})."
            for (named, what), splits in lacking.items()
        ]


def _by_name_and_split(group: Group) -> dict[tuple[Named, tuple[Any, Any]], list[Trial]]:
    """The trials of the runs that name an ensemble and are of one of its members."""
    by_name: dict[tuple[Named, tuple[Any, Any]], list[Trial]] = defaultdict(list)
    for trial in group.trials:
        for name, members in trial.ensembles.items():
            if trial.model in members:
                by_name[Named(name, tuple(members)), trial.split].append(trial)
    return by_name


def _members(
    named: Named, trials: Sequence[Trial], lacking: dict[tuple[Named, str], list[str]]
) -> list[Trial]:
    """One trial of each member that can be scored with the others, on the split of most trials.

    Why others cannot goes to ``lacking``.
    """
    splits = [str(trial.metrics["data"].get("split_sha256")) for trial in trials]
    split = max(splits, key=splits.count)
    members: list[Trial] = []
    for model in named.members:
        same = [trial for trial in trials if trial.model == model]
        if why := _why_not(same, split, members):
            lacking[named, f"without {model}, {why}"].append(split_name(trials[0].split))
        else:
            members += same
    return members


def _why_not(same: Sequence[Trial], split: str, others: Sequence[Trial]) -> str:
    """Why a member's trials of one seed cannot be scored with the others; "" if one can."""
    if not same:
        return "which has no finished run"
    if len(same) > 1:
        return "which was trained by several settings"
    (trial,) = same
    if str(trial.metrics["data"].get("split_sha256")) != split:
        return "which has another split"
    if not trial.label.size:
        return "whose predictions are not known"
    if others and _num_classes(trial) != _num_classes(others[0]):
        return "which has other classes"
    if others and not _same_images(trial.test, others[0].test):
        return "which was scored on other images"
    return ""


def _num_classes(trial: Trial) -> int:
    return trial.metrics.get("num_classes") or 2


def _same_images(first: Predictions, second: Predictions) -> bool:
    return np.array_equal(first.path, second.path) and np.array_equal(first.label, second.label)


def _combined(named: Named, members: Sequence[Trial], way: str, weights: Array | None) -> Trial:
    """The trial of all members, as one model; ``weights`` (M,) for the weighted mean only."""
    probability = np.stack([member.probability for member in members])
    shares = np.full(len(members), np.nan)
    if way == "vote":
        combined = vote_share(probability)
    elif way == "weighted" and weights is not None:
        combined, shares = np.asarray(weights @ probability), weights
    else:
        combined = np.asarray(probability.mean(0))
    first, missing = members[0], len(members) < len(named.members)
    size = f"{len(members)} of {len(named.members)}" if missing else f"{len(members)}"
    label = f"{named.name}, {WAYS[way]} of {size}"
    table = confusion(first.label, combined >= 0.5).tolist()
    chosen_on = {str((member.metrics.get("selection") or {}).get("on")) for member in members}
    common = ("seed", "fold", "protocol", "data", "num_classes")
    return Trial(
        f"{first.name}: {label}",
        {
            **{key: first.metrics.get(key) for key in common},
            "model": label,
            "best": {"test": {**scores(first.label, combined), "confusion": table}},
            "last": {},
            # its members' epochs, one after another
            "history": [
                {"seconds": sum(m.count("train", "images") / m.images_per_second for m in members)}
            ],
            **{
                key: sum(number(m.metrics, key) for m in members)
                for key in ("parameters", "multiply_adds")
            },
            "seconds": {
                key: sum(number(m.metrics.get("seconds"), key) for m in members)
                for key in ("train", "total")
            },
        },
        settings={"chosen_on": "test" if "test" in chosen_on else chosen_on.pop()},
        test=Predictions(first.path, first.label, combined, first.patient),
        members=tuple((m.model, float(share)) for m, share in zip(members, shares, strict=True)),
    )


def _weights(members: Sequence[Trial]) -> Array | None:
    """(M,) fitted on the validation split of all members; None if they have none in common."""
    val = [member.val for member in members]
    if not val[0].label.size or not all(_same_images(val[0], other) for other in val[1:]):
        return None
    return fit_weights(val[0].label, np.stack([each.probability for each in val]))
