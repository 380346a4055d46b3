"""Ensembles that runs name in their configuration: members of one split, scored together."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from pneumo.evaluation.combine import vote_share
from pneumo.evaluation.metrics import Array, confusion, scores
from pneumo.evaluation.operating_point import fit_weights
from pneumo.report.groups import Cell, Group
from pneumo.report.trials import Predictions, Trial, number, split_name

WAYS = {"mean": "mean", "weighted": "weighted mean", "vote": "vote"}
NO_WEIGHTS = "no weights, since its members have no common validation split"


class Named(NamedTuple):
    """An ensemble as an experiment's configuration names it."""

    name: str
    members: tuple[str, ...]


def add_ensembles(groups: Sequence[Group]) -> None:
    """Gives each group the rows of the ensembles that its runs name, and what they lack."""
    for group in groups:
        lacking: dict[tuple[Named, str], list[str]] = defaultdict(list)
        cells: dict[str, Cell] = {}
        for named, trials in _by_name_and_split(group).items():
            members = _members(named[0], trials, lacking)
            if len(members) < 2:
                lacking[named[0], "not scored, fewer than two members"].append(_where(trials))
                continue
            for way in WAYS:
                trial = _together(named[0], members, way)
                if trial is None:
                    lacking[named[0], NO_WEIGHTS].append(_where(trials))
                else:
                    cell = Cell(trial.model, trial.model, trial.settings(), [])
                    cells.setdefault(trial.model, cell).trials.append(trial)
        group.ensembles = list(cells.values())
        group.lacking = [
            f"Ensemble {named.name}: {what} ({', '.join(dict.fromkeys(where))})."
            for (named, what), where in lacking.items()
        ]


def _by_name_and_split(group: Group) -> dict[tuple[Named, Any], list[Trial]]:
    """The trials of the runs that name an ensemble and are of one of its members."""
    found: dict[tuple[Named, Any], list[Trial]] = defaultdict(list)
    for trial in group.trials:
        for name, members in trial.ensembles.items():
            if trial.model in members:
                found[Named(name, tuple(members)), trial.split].append(trial)
    return found


def _where(trials: Sequence[Trial]) -> str:
    return split_name(trials[0].split)


def _members(
    named: Named, trials: Sequence[Trial], lacking: dict[tuple[Named, str], list[str]]
) -> list[Trial]:
    """One trial of each member that the others can be scored with; why not goes to ``lacking``.

    All are of the split that most of them share.
    """
    splits = [str(trial.metrics["data"].get("split_sha256")) for trial in trials]
    split = max(splits, key=splits.count)
    found: list[Trial] = []
    for model in named.members:
        own = [trial for trial in trials if trial.model == model]
        why = _why_not(own, split, found)
        if why:
            lacking[named, f"without {model}, {why}"].append(_where(trials))
        else:
            found += own
    return found


def _why_not(own: Sequence[Trial], split: str, others: Sequence[Trial]) -> str:
    """Why a member's trials of one seed cannot be scored with the others; "" if there is one."""
    if not own:
        return "which has no finished run"
    if len(own) > 1:
        return "which was trained by several settings"
    (trial,) = own
    if str(trial.metrics["data"].get("split_sha256")) != split:
        return "which has another split"
    if not trial.label.size:
        return "whose predictions are not known"
    if others and _classes(trial) != _classes(others[0]):
        return "which has other classes"
    if others and not _same_images(trial.test, others[0].test):
        return "which was scored on other images"
    return ""


def _classes(trial: Trial) -> int:
    return trial.metrics.get("num_classes") or 2


def _same_images(one: Predictions, other: Predictions) -> bool:
    return np.array_equal(one.path, other.path) and np.array_equal(one.label, other.label)


def _together(named: Named, members: Sequence[Trial], way: str) -> Trial | None:
    """The trial of all members, as one model; None where there is nothing to fit weights on."""
    weights = _weights(members)
    if way == "weighted" and weights is None:
        return None
    probability = _combine(np.stack([m.probability for m in members]), way, weights)
    first = members[0]
    all_of = f"{len(members)}"
    if len(members) < len(named.members):
        all_of += f" of {len(named.members)}"
    shares = weights if way == "weighted" and weights is not None else np.full(len(members), np.nan)
    label = f"{named.name}, {WAYS[way]} of {all_of}"
    return Trial(
        f"{first.name}: {label}",
        {
            **{key: first.metrics.get(key) for key in ("seed", "fold", "protocol", "data")},
            "model": label,
            "num_classes": first.metrics.get("num_classes"),
            "selection": {"on": _chosen_on(members)},
            "best": {"test": _scores(first.label, probability)},
            "last": {},
            "history": [{"seconds": _epoch_seconds(members)}],
            **{key: _sum(members, key) for key in ("parameters", "multiply_adds")},
            "seconds": {key: _seconds(members, key) for key in ("train", "total")},
        },
        {},
        Predictions(first.path, first.label, probability, first.patient),
        members=tuple((m.model, float(share)) for m, share in zip(members, shares, strict=True)),
    )


def _weights(members: Sequence[Trial]) -> Array | None:
    """(M,) fitted on the validation split that all members have, if there is one."""
    val = [member.val for member in members]
    if not val[0].label.size or not all(_same_images(val[0], one) for one in val[1:]):
        return None
    return fit_weights(val[0].label, np.stack([one.probability for one in val]))


def _combine(probability: Array, way: str, weights: Array | None) -> Array:
    """(M, N) of the members to (N,)."""
    if way == "vote":
        return vote_share(probability)
    if way == "weighted" and weights is not None:
        return np.asarray(weights @ probability)
    return np.asarray(probability.mean(0))


def _scores(label: Array, probability: Array) -> Mapping[str, Any]:
    table = confusion(label, probability >= 0.5).tolist()
    return {**scores(label, probability), "confusion": table}


def _chosen_on(members: Sequence[Trial]) -> str:
    """The split that chose the members' epochs; the test split if it chose any."""
    on = {str((member.metrics.get("selection") or {}).get("on")) for member in members}
    return "test" if "test" in on else on.pop()


def _sum(members: Sequence[Trial], key: str) -> float:
    return sum(number(member.metrics, key) for member in members)


def _epoch_seconds(members: Sequence[Trial]) -> float:
    """An epoch of each member, one after another, as the members' images per second tell it."""
    return sum(m.count("train", "images") / m.images_per_second for m in members)


def _seconds(members: Sequence[Trial], key: str) -> float:
    return sum(number(member.metrics.get("seconds"), key) for member in members)
