"""Groups of comparable trials: the same data and protocol, then by network and settings."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeVar

import pandas as pd

from pneumo.data.base import DataSet
from pneumo.data.folder import Folder
from pneumo.data.phantom import Phantoms
from pneumo.data.sets import class_of
from pneumo.evaluation import published
from pneumo.report.trials import PLACE, Problem, Spread, Trial
from pneumo.runs.run import Run

DEBUG = "debug"  # trials of a few batches: a separate group, never beside full ones
PROTOCOLS = {  # in the order of the report: how the images are split
    "official": "the set's own test folder; validation patients drawn from its train folder",
    "holdout": "random split by patient into train, validation and test",
    "kfold": "one fold of several, drawn by patient",
    "paper": "random 70/30 split by patient, without a validation split",
    "own": "the splits that came with the set",
    DEBUG: "debug runs of a few batches per epoch, whose scores are meaningless",
}
CUSTOM = "custom splits"
COPIES = ("images", "labels")  # of one published set; metrics.json has a digest of each
OWN = (Folder.kind, Phantoms.kind)  # data sets of which there are many
OF_PROTOCOL = ("chosen_", "decision", "protocol.", "data.patient_key")  # settings
AnyRun = TypeVar("AnyRun", Trial, Run)
Trained = tuple[str, str, Mapping[str, Any]]  # group, recipe or network, flat settings


@dataclass(eq=False)
class Cell:
    """The comparable trials of one network in one group, by seed and fold."""

    label: str
    model: str
    settings: Mapping[str, Any]
    trials: list[Trial]

    @property
    def name(self) -> str:
        """The recipe's name, or the network's."""
        return str(self.trials[0].metrics.get("recipe") or self.model)

    @property
    def is_ensemble(self) -> bool:
        """Whether each trial is of several networks together, see pneumo.report.ensembles."""
        return bool(self.trials[0].members)

    @property
    def is_baseline(self) -> bool:
        """Whether the trials are of a classifier of pneumo.baselines."""
        return self.trials[0].is_baseline

    @property
    def chosen_on(self) -> str:
        """The split that the epochs were chosen on: test, val, or none for the last epoch."""
        return str(self.settings.get("chosen_on"))

    @property
    def train_split(self) -> str:
        """The split of the train scores: in evaluation mode, if every trial has these."""
        has_them = all(t.metrics["best"].get("train_eval") for t in self.trials)
        return "train_eval" if has_them else "train"

    @cached_property
    def spreads(self) -> dict[tuple[str, ...], Spread]:
        """The spread over trials of each number by `PLACE`."""
        table = pd.DataFrame([row for trial in self.trials for row in trial.rows()])
        over: dict[str, Any] = {"n": "count", "median": "median", "mean": "mean", "sd": "std"}
        over |= {"low": "min", "high": "max", "trials": "size"}
        over = {name: ("value", statistic) for name, statistic in over.items()}
        over |= {"lower": ("low", "first"), "upper": ("high", "first")}
        rows = table.groupby(PLACE, sort=False).agg(**over)
        return {row[0]: Spread(*row[1:]) for row in rows.itertuples()}

    def spread(self, name: str, *, split: str = "test", when: str = "best") -> Spread:
        """Returns the spread of one score over the trials."""
        return self.spreads.get((when, split, name), Spread())

    def size(self, name: str) -> Spread:
        """Returns the spread of a size, such as parameters or images_per_second."""
        return self.spread(name, split="", when="")


@dataclass(eq=False)
class Comparable:
    """Runs on the same data under the same protocol: only these are compared."""

    kind: str
    protocol: str
    slug: str
    set_name: str  # see `set_names`

    @property
    def data_set(self) -> type[DataSet]:
        """The class with the facts of the data set."""
        return class_of(self.kind)

    @property
    def title(self) -> str:
        """Data set and protocol."""
        return f"{self.set_name}, {self.protocol} protocol"


@dataclass(eq=False)
class Group(Comparable):
    """Trials of classifiers."""

    index: str
    cells: list[Cell]
    ensembles: list[Cell] = field(default_factory=list)  # of its networks, by name and way
    incomplete: list[str] = field(default_factory=list)  # why ensembles lack members, in sentences

    @property
    def split_by(self) -> str:
        """How the protocol splits the images."""
        return PROTOCOLS.get(self.protocol, CUSTOM)

    @property
    def is_papers(self) -> bool:
        """Whether the paper's figures are of these splits."""
        return self.protocol == "paper" and bool(self.data_set.published)

    @property
    def trials(self) -> list[Trial]:
        """All trials of the group."""
        return [trial for cell in self.cells for trial in cell.trials]

    @property
    def networks(self) -> list[Cell]:
        """The cells of networks."""
        return [cell for cell in self.cells if not cell.is_baseline]

    @property
    def baselines(self) -> list[Cell]:
        """The cells of baselines."""
        return [cell for cell in self.cells if cell.is_baseline]

    @property
    def rows(self) -> list[Cell]:
        """All cells in the order of a table: networks, ensembles of them, baselines."""
        return [*self.networks, *self.ensembles, *self.baselines]

    @property
    def warnings(self) -> list[str]:
        """Of intervals of few patients, and that there is no temperature."""
        assessments = [trial.assessment for trial in self.trials if trial.assessment]
        both = ((a["interval"]["warning"], a["calibration"].get("why_not")) for a in assessments)
        return sorted({warning for each in both for warning in each if warning})

    @property
    def devices(self) -> list[str]:
        """The devices that the networks were timed on."""
        return sorted({trial.device for cell in self.networks for trial in cell.trials})


def group_trials(trials: Iterable[Trial]) -> tuple[list[Group], list[Problem]]:
    """Returns groups, real data and separate test splits first, and the trials left out.

    Only the newest trial of one network, split and settings counts.
    """
    left_out, newest = list[Problem](), dict[Any, Trial]()
    latest = sorted(
        _of_copies(list(trials)),
        key=lambda t: (str(t.status.get("time", "")), t.name),
        reverse=True,
    )
    for trial in latest:
        key = (_key(trial), trial.model, trial.drawn, _frozen(trial.settings))
        newer = newest.setdefault(key, trial)
        if newer is not trial:
            reason = f"the same network, split and settings as {newer.name}, which is newer"
            about = (reason, trial.model, *trial.split, key[0][1])
            left_out.append(Problem(trial.name, "duplicate", *about))
    groups: list[Group] = []
    kept = sorted(newest.values(), key=lambda trial: trial.name)
    names = set_names(kept)
    for (kind, protocol, index), same in by_key(kept).items():
        earlier = sum(group.slug.startswith(f"{kind}-{protocol}") for group in groups)
        slug = f"{kind}-{protocol}" + f"-{earlier + 1}" * (earlier > 0)
        groups.append(Group(kind, protocol, slug, names[kind, index], index, _cells(same)))
    cells = [(group.slug, cell) for group in groups for cell in group.cells]
    named = labels([(slug, cell.name, cell.settings) for slug, cell in cells])
    for (_, cell), label in zip(cells, named, strict=True):
        cell.label = label
    return groups, left_out


def _of_copies(trials: Sequence[Trial]) -> list[Trial]:
    """Returns the trials; of different images or labels under the same names, digests differ.

    They are settings if the files of a published set have other bytes in some runs, such as after a
    change of contrast, or other labels, and part of the name of external images.
    """
    copies: dict[Any, set[str]] = defaultdict(set)
    others: dict[str, set[str]] = defaultdict(set)
    for trial in trials:
        kind, _, index = _key(trial)
        for what in COPIES:
            copies[kind, index, what] |= {trial.metrics["data"].get(f"{what}_sha256") or ""} - {""}
        for name, digest in trial.external.items():
            others[name].add(digest)

    def distinguished(trial: Trial) -> Trial:
        kind, _, index = _key(trial)
        settings, data = trial.settings, trial.metrics["data"]
        for what in COPIES:
            if len(copies[kind, index, what]) > 1:
                settings = {**settings, f"data.{what}": str(data.get(f"{what}_sha256"))[:8]}
        names = {
            f"external_{name}": f"external_{name} ({digest[:8]})"
            for name, digest in trial.external.items()
            if len(others[name]) > 1
        }
        more = tuple(row._replace(split=names.get(row.split, row.split)) for row in trial.more)
        return replace(trial, settings=settings, more=more)

    return list(map(distinguished, trials))


def by_key(runs: Iterable[AnyRun]) -> dict[tuple[str, str, str], list[AnyRun]]:
    """Returns runs by data set, protocol and index: only those with one key are compared.

    In the order of the report: debug runs last, phantoms after real data.
    """
    groups: dict[tuple[str, str, str], list[AnyRun]] = defaultdict(list)
    for run in runs:
        groups[_key(run)].append(run)

    def order(key: tuple[str, str, str]) -> tuple[Any, ...]:
        kind, protocol, index = key
        place = list(PROTOCOLS).index(protocol) if protocol in PROTOCOLS else len(PROTOCOLS)
        return protocol == DEBUG, class_of(kind).generated, kind, place, protocol, index

    return {key: groups[key] for key in sorted(groups, key=order)}


def set_names(runs: Iterable[AnyRun]) -> dict[tuple[str, str], str]:
    """Returns the name of each set by kind and index: its kind, of several with folder or number.

    The folder's name if each set of the kind has its own.
    """
    folders: dict[str, dict[str, str]] = defaultdict(dict)
    for (kind, _, index), same in by_key(runs).items():
        folders[kind].setdefault(index, str(same[0].metrics["data"].get("root_name")))
    names = {}
    for kind, places in folders.items():
        differ = len(set(places.values())) == len(places)
        for number, (index, place) in enumerate(places.items(), 1):
            names[kind, index] = f"{kind} {place if differ else number}" * (len(places) > 1) or kind
    return names


def _key(run: Trial | Run) -> tuple[str, str, str]:
    metrics: Mapping[str, Any] = run.metrics
    data = metrics["data"]
    # the names of the files identify a published set; others also their images and labels
    digests = ("images_sha256", "labels_sha256") if data["kind"] in OWN else ()
    ids = [data[key] for key in digests if data.get(key)] or [data.get("index_sha256")]
    index = " ".join(filter(None, ids)) or f"{data.get('images')} images"
    return str(data["kind"]), DEBUG if metrics.get("debug") else str(metrics["protocol"]), index


def _frozen(settings: Mapping[str, Any]) -> str:
    return repr(sorted(settings.items(), key=lambda item: item[0]))


def _cells(trials: Sequence[Trial]) -> list[Cell]:
    by_settings: dict[tuple[str, str], list[Trial]] = defaultdict(list)
    for trial in trials:
        by_settings[trial.model, _frozen(trial.settings)].append(trial)
    cells = [
        Cell(model, model, same[0].settings, sorted(same, key=lambda t: str(t.split)))
        for (model, _), same in by_settings.items()
    ]
    order = [*published.NETWORKS]

    def place(cell: Cell) -> tuple[Any, ...]:
        rank = order.index(cell.model) if cell.model in order else len(order)
        return cell.is_baseline, rank, cell.model, -len(cell.trials)

    return sorted(cells, key=place)


def labels(networks: Sequence[Trained]) -> list[str]:
    """Returns each name, with the settings that distinguish the networks of one name.

    Settings that come with the protocol are named only if networks of one group differ in nothing
    else: a network keeps its name under every protocol.
    """
    alike = defaultdict(list)
    for group, name, settings in networks:
        alike[name].append((group, settings))
    keys = {name: _telling(same) for name, same in alike.items()}
    pairs = [
        [_label(name, keys[name], settings, short=short) for short in (True, False)]
        for _, name, settings in networks
    ]
    same = defaultdict(set)
    for short, full in pairs:
        same[short].add(full)
    return [short if len(same[short]) == 1 else full for short, full in pairs]


def _telling(networks: Sequence[tuple[str, Mapping[str, Any]]]) -> list[str]:
    """The settings that distinguish networks of one name, as few as possible."""

    def rank(key: str) -> tuple[bool, bool]:
        values = [settings.get(key) for _, settings in networks]
        is_plain = all(isinstance(v, str | int | float) and "${" not in str(v) for v in values)
        return key.startswith(OF_PROTOCOL), not is_plain

    def num_kinds(keys: Sequence[str], *, in_group: bool) -> int:
        return len({repr((in_group and g, *map(of.get, keys))) for g, of in networks})

    shown: list[str] = []
    for key in sorted(dict.fromkeys(key for _, of in networks for key in of), key=rank):
        in_group = key.startswith(OF_PROTOCOL)
        if num_kinds([*shown, key], in_group=in_group) > num_kinds(shown, in_group=in_group):
            shown.append(key)
    return shown


def _label(name: str, keys: Sequence[str], settings: Mapping[str, Any], *, short: bool) -> str:
    """The name and its settings by their last words, or whole keys if two end alike."""
    last = [key.removesuffix("._target_").rpartition(".")[2] for key in keys]
    words = [w if last.count(w) == 1 else k for k, w in zip(keys, last, strict=True)]
    values = [_short(key, settings.get(key)) if short else str(settings.get(key)) for key in keys]
    text = ", ".join(f"{word}={value}" for word, value in zip(words, values, strict=True))
    return f"{name} ({text})" if keys else name


def _short(key: str, value: Any) -> str:
    """A setting's value in a few characters; classes and transforms by their names."""
    if key.endswith("._target_"):
        return str(value).rpartition(".")[2]
    if isinstance(value, list) and value and all(isinstance(x, dict) for x in value):
        return "+".join(str(x.get("_target_")).rpartition(".")[2] for x in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
