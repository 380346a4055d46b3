"""Trials to comparable groups: same data, same protocol, then by network and settings."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from pneumo.evaluation import published
from pneumo.report.trials import Problem, Trial, split_name

DEBUG = "debug"  # trials of a few batches: a group of their own, never beside whole ones
# The order in which they are reported: a test split of its own first, the optimistic one last
PROTOCOLS = ("official", "holdout", "kfold", "paper")


class Spread(NamedTuple):
    """Numbers over trials: how many are known, and their middle and spread (sd with n - 1)."""

    n: int
    median: float
    mean: float
    sd: float
    low: float
    high: float


@dataclass
class Cell:
    """The comparable trials of one network in one group, by seed and fold."""

    label: str
    model: str
    settings: dict[str, Any]
    trials: list[Trial]
    missing: list[str] = field(default_factory=list)

    @property
    def is_ensemble(self) -> bool:
        """Whether its trials are of several networks together, see pneumo.report.ensembles."""
        return any(trial.members for trial in self.trials)

    @property
    def is_baseline(self) -> bool:
        """Whether its trials are of a classifier of pneumo.baselines."""
        return any(trial.is_baseline for trial in self.trials)

    @property
    def train_split(self) -> str:
        """The split with the train scores: in evaluation mode, if every trial has them."""
        scored = self.trials and all(t.metrics["best"].get("train_eval") for t in self.trials)
        return "train_eval" if scored else "train"

    def spread(self, when: str, split: str, name: str) -> Spread:
        """The spread of one score over the trials; those where it is undefined are not counted."""
        return spread([trial.score(when, split, name) for trial in self.trials])

    def by_split(self) -> dict[tuple[Any, Any], Trial]:
        """The trials by seed and fold."""
        return {trial.split: trial for trial in self.trials}


@dataclass
class Group:
    """Trials on the same data under the same protocol: the only ones that are put side by side."""

    kind: str
    protocol: str
    index: str
    slug: str
    cells: list[Cell]
    ensembles: list[Cell] = field(default_factory=list)  # of its networks, by name and way
    lacking: list[str] = field(default_factory=list)  # what its ensembles lack, a sentence each

    @property
    def trials(self) -> list[Trial]:
        """All trials of the group."""
        return [trial for cell in self.cells for trial in cell.trials]

    @property
    def networks(self) -> list[Cell]:
        """The cells with trials of networks."""
        return [cell for cell in self.cells if cell.trials and not cell.is_baseline]

    @property
    def rows(self) -> list[Cell]:
        """What a table has a row of: networks, ensembles of them, baselines."""
        others = [cell for cell in self.cells if not cell.is_baseline]
        return [*others, *self.ensembles, *self.baselines]

    @property
    def baselines(self) -> list[Cell]:
        """The cells with trials of baselines."""
        return [cell for cell in self.cells if cell.is_baseline]


def spread(values: ArrayLike) -> Spread:
    """The spread of the finite values; NaN for what too few of them leave open."""
    known = np.asarray(values, dtype=np.float64)
    known = known[np.isfinite(known)]
    nan = float("nan")
    if known.size == 0:
        return Spread(0, nan, nan, nan, nan, nan)
    sd = float(known.std(ddof=1)) if known.size > 1 else nan
    middle, mean = float(np.median(known)), float(known.mean())
    return Spread(known.size, middle, mean, sd, float(known.min()), float(known.max()))


def group_trials(
    trials: Iterable[Trial], *, problems: Sequence[Problem] = ()
) -> tuple[list[Group], list[Problem]]:
    """Groups of comparable trials, real data and the honest protocols first, and all problems.

    Trials of one network and split are not counted twice: the one finished last stays, the others
    join the problems. Runs that are missing from the grid of a group are named in its cells.
    """
    kept, twice = _without_duplicates(trials)
    problems = [*problems, *twice]
    by_key: dict[tuple[str, str, str], list[Trial]] = defaultdict(list)
    for trial in kept:
        by_key[_group_key(trial)].append(trial)
    groups: list[Group] = []
    for key in sorted(by_key, key=_group_order):
        kind, protocol, index = key
        same = sum(group.slug.startswith(f"{kind}-{protocol}") for group in groups)
        slug = f"{kind}-{protocol}" + (f"-{same + 1}" if same else "")
        groups.append(Group(kind, protocol, index, slug, _cells(by_key[key])))
    _label(groups)
    for group in groups:
        own = [p for p in problems if _belongs(p, group, groups=groups)]
        _name_missing(group, problems=own)
    return groups, problems


def _group_key(trial: Trial) -> tuple[str, str, str]:
    data = trial.metrics["data"]
    index = str(data.get("index_sha256") or f"{data.get('images')} images")
    protocol = DEBUG if trial.metrics.get("debug") else str(trial.metrics["protocol"])
    return str(data["kind"]), protocol, index


def _group_order(key: tuple[str, str, str]) -> tuple[Any, ...]:
    kind, protocol, index = key
    place = PROTOCOLS.index(protocol) if protocol in PROTOCOLS else len(PROTOCOLS)
    return protocol == DEBUG, kind == "phantom", kind, place, protocol, index


def _frozen(settings: dict[str, Any]) -> str:
    return repr(sorted(settings.items(), key=lambda item: item[0]))


def _without_duplicates(trials: Iterable[Trial]) -> tuple[list[Trial], list[Problem]]:
    def finished(trial: Trial) -> tuple[str, str]:
        return str(trial.status.get("time", "")), trial.name

    kept: dict[Any, Trial] = {}
    twice = []
    for trial in sorted(trials, key=finished, reverse=True):
        key = (_group_key(trial), trial.model, trial.split, _frozen(trial.settings()))
        if key in kept:
            reason = f"the same network, split and settings as {kept[key].name}, which is newer"
            twice.append(
                Problem(trial.name, "duplicate", reason, trial.model, *trial.split, key[0][1])
            )
        kept.setdefault(key, trial)
    return sorted(kept.values(), key=lambda trial: trial.name), twice


def _cells(trials: Sequence[Trial]) -> list[Cell]:
    by_settings: dict[tuple[str, str], list[Trial]] = defaultdict(list)
    for trial in trials:
        by_settings[trial.model, _frozen(trial.settings())].append(trial)
    cells = [
        Cell(model, model, own[0].settings(), sorted(own, key=lambda t: str(t.split)))
        for (model, _), own in by_settings.items()
    ]
    place = {name: index for index, name in enumerate(published.NETWORKS)}

    def order(cell: Cell) -> tuple[Any, ...]:
        first = cell.is_baseline, place.get(cell.model, len(place))
        return *first, cell.model, -len(cell.trials)

    return sorted(cells, key=order)


def _label(groups: Sequence[Group]) -> None:
    """Tells several recipes of one network apart by their settings, alike in all groups."""
    for model in {cell.model for group in groups for cell in group.cells}:
        keys: dict[str, None] = {}
        recipes = []
        for group in groups:
            own = [cell for cell in group.cells if cell.model == model]
            recipes += own
            keys |= dict.fromkeys(varying_keys([cell.settings for cell in own]))
        # one word tells a recipe as a rule; what only one version of the software has is left out
        words = [k for k in keys if all(_is_word(cell.settings.get(k)) for cell in recipes)]
        labels = {tuple(repr(cell.settings[k]) for k in words) for cell in recipes}
        if len(labels) < len({tuple(repr(c.settings.get(k)) for k in keys) for c in recipes}):
            words = list(keys)
        words = _telling(words, recipes)
        for cell in recipes:
            told = ", ".join(
                f"{_name(key, words)}={short(cell.settings.get(key))}" for key in words
            )
            cell.label = f"{model} ({told})" if told else model


def _telling(keys: Sequence[str], recipes: Sequence[Cell]) -> list[str]:
    """The keys without those that tell no more than the ones before them."""
    kept: list[str] = []
    told = 1
    for key in keys:
        own = {tuple(repr(c.settings.get(k)) for k in (*kept, key)) for c in recipes}
        if len(own) > told:
            kept.append(key)
            told = len(own)
    return kept


def _name(key: str, keys: Sequence[str]) -> str:
    """The last word of a setting's key, or the whole where that is another's, too."""
    last = key.removesuffix("._target_").rpartition(".")[2]
    same = [k for k in keys if k.removesuffix("._target_").rpartition(".")[2] == last]
    return last if len(same) == 1 else key


def _is_word(value: Any) -> bool:
    return isinstance(value, str | int | float) and "${" not in str(value)


def short(value: Any) -> str:
    """A setting's value in as few characters as tell it; of transforms, their names."""
    if isinstance(value, list) and value and all(isinstance(x, dict) for x in value):
        return "+".join(str(x.get("_target_")).rpartition(".")[2] for x in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def varying_keys(settings: Sequence[dict[str, Any]]) -> list[str]:
    """The keys whose values are not the same in all of them."""
    keys = dict.fromkeys(key for one in settings for key in one)
    return [key for key in keys if len({repr(one.get(key)) for one in settings}) > 1]


def _belongs(problem: Problem, group: Group, *, groups: Sequence[Group]) -> bool:
    """Whether a run that is left out was meant for this group, as far as its place tells."""
    if len(groups) == 1:
        return problem.protocol in (None, group.protocol)
    sweep = problem.name.rpartition("/")[0]
    homes = [
        candidate
        for candidate in groups
        if problem.protocol in (None, candidate.protocol)
        and any(trial.name.rpartition("/")[0] == sweep for trial in candidate.trials)
    ]
    if len(homes) > 1:
        homes = [home for home in homes if any(c.model == problem.model for c in home.cells)]
    return len(homes) == 1 and homes[0] is group


def _name_missing(group: Group, *, problems: Sequence[Problem]) -> None:
    """Names the splits of the group's grid that a network was not finished on, and why if known."""
    why = {(p.model, p.seed, p.fold): p for p in problems if p.state != "duplicate"}
    known = {cell.model for cell in group.cells}
    for model in dict.fromkeys(p.model for p in why.values() if p.model):
        if model not in known:
            group.cells.append(Cell(model, model, {}, []))
    splits = dict.fromkeys(trial.split for trial in group.trials)
    splits |= dict.fromkeys((p.seed, p.fold) for p in why.values() if p.seed is not None)
    of_networks = {trial.split for cell in group.networks for trial in cell.trials}
    of_networks |= {(p.seed, p.fold) for p in why.values() if p.seed is not None}
    for cell in group.cells:
        has = cell.by_split()
        # a baseline takes seconds, and may have splits that no network was meant for
        grid = splits if cell.is_baseline else of_networks
        for split in sorted(set(grid) - set(has), key=str):
            problem = why.get((cell.model, *split))
            told = f" ({problem.state}: {problem.reason})" if problem else " (no such run)"
            cell.missing.append(split_name(split) + told)
