"""The first screen of a report: each model on random, official and external test images."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from typing import NamedTuple

from pneumo.report.external import OF_PROTOCOL, OFFICIAL, RANDOM, ends
from pneumo.report.groups import DEBUG, Cell, Group
from pneumo.report.scores import Intervals, size
from pneumo.report.table import Row, Table
from pneumo.report.trials import spread
from pneumo.report.wording import DASH, count, decimal, interval

SHOWN = ("auroc", "accuracy")  # in the picture; the table has the first
OPTIMISTIC = "\N{DAGGER}"
TITLES = {RANDOM: "Random split", OFFICIAL: "Official test"}
UNKNOWN = (float("nan"), float("nan"))


class Scored(NamedTuple):
    """A score of the trials of one model on one set of test images."""

    value: float  # median over trials
    low: float  # lowest, or the end of a single trial's 95 % interval; NaN if unknown
    high: float
    trials: int
    is_optimistic: bool  # the epoch was chosen on these images


@dataclass(frozen=True)
class Model:
    """A row: a model trained alike under every protocol."""

    label: str
    is_baseline: bool
    is_chance: bool  # the prior
    parameters: float
    scores: Mapping[str, Mapping[str, Scored]]  # by column, then by score

    def value(self, column: str) -> float:
        """Returns its AUROC in a column; NaN if it was not scored."""
        scored = self.scores.get(column)
        return scored["auroc"].value if scored else float("nan")


@dataclass(frozen=True)
class Overview:
    """The models of one data set."""

    kind: str
    slug: str
    columns: Sequence[str]  # random, official, and names of external images
    models: Sequence[Model]
    has_paper: bool  # whether the paper's scores are of these images

    @property
    def table(self) -> Table:
        """A row for each model, a column for each set of test images."""
        titles = {"model": "Model", "parameters": "Parameters"}
        titles |= {name: TITLES.get(name, f"External: {name}") for name in self.columns}
        return Table(titles, [_row(model, self.columns) for model in self.models])

    @property
    def is_optimistic(self) -> bool:
        """Whether a cell has the mark of an epoch chosen on the test split."""
        every = (scored for model in self.models for scored in model.scores.values())
        return any(scored["auroc"].is_optimistic for scored in every)


def overviews(groups: Sequence[Group], intervals: Intervals) -> list[Overview]:
    """Returns an overview of each data set, without debug runs.

    A model with several random splits, as of paper and holdout, is shown with the one of most
    trials, the honest one of equals.
    """
    by_images: dict[tuple[str, str], list[Group]] = defaultdict(list)
    for group in groups:
        if group.protocol != DEBUG:
            num_images = f"{group.trials[0].metrics['data'].get('images') or 0:,}"
            by_images[group.kind, num_images].append(group)
    kinds = [kind for kind, _ in by_images]
    return [
        _overview(kind if kinds.count(kind) == 1 else f"{kind}, {images} images", same, intervals)
        for (kind, images), same in by_images.items()
    ]


def _overview(title: str, groups: Sequence[Group], intervals: Intervals) -> Overview:
    cells: dict[str, list[tuple[Cell, Group]]] = defaultdict(list)
    for group in groups:
        for cell in group.rows:
            if cell.trials:
                cells[cell.label].append((cell, group))
    models = [_model(label, same, intervals) for label, same in cells.items()]
    columns = dict.fromkeys(OF_PROTOCOL.get(group.protocol, RANDOM) for group in groups)
    names = dict.fromkeys(name for model in models for name in model.scores)
    external = [name for name in names if name not in (RANDOM, OFFICIAL)]
    order = [*(name for name in (RANDOM, OFFICIAL) if name in columns), *external]

    def rank(model: Model) -> tuple[object, ...]:
        values = (model.value(name) for name in (OFFICIAL, RANDOM))
        return model.is_baseline, *(2.0 if isnan(value) else -value for value in values)

    is_papers = groups[0].data_set.published
    slug = groups[0].slug.removesuffix(f"-{groups[0].protocol}")
    return Overview(title, slug, order, sorted(models, key=rank), bool(is_papers))


def _model(label: str, cells: Sequence[tuple[Cell, Group]], intervals: Intervals) -> Model:
    known: dict[str, dict[str, Scored]] = {}
    for cell, group in cells:
        own = OF_PROTOCOL.get(group.protocol, RANDOM)
        scored = {own: {name: _own(cell, name, intervals) for name in SHOWN}, **_external(cell)}
        for column, scores in scored.items():
            if column not in known or scores["auroc"].trials > known[column]["auroc"].trials:
                known[column] = scores
    first, _ = cells[0]
    parameters = size(first, "parameters").median
    return Model(label, first.is_baseline, first.model == "prior", parameters, known)


def _own(cell: Cell, name: str, intervals: Intervals) -> Scored:
    low_high = [intervals.get(trial.name, {}).get(name, UNKNOWN) for trial in cell.trials]
    values = [(t.score(name), *e) for t, e in zip(cell.trials, low_high, strict=True)]
    return _scored(values, is_optimistic=cell.chosen_on == "test" and not cell.is_baseline)


def _external(cell: Cell) -> dict[str, dict[str, Scored]]:
    by_name = defaultdict(list)
    for trial in cell.trials:
        for name, result in trial.external.items():
            by_name[name].append(result["assessment"])
    return {
        name: {score: _scored([ends(each, score) for each in same]) for score in SHOWN}
        for name, same in by_name.items()
    }


def _scored(values: Sequence[tuple[float, float, float]], *, is_optimistic: bool = False) -> Scored:
    over = spread([value for value, _, _ in values])
    low, high = values[0][1:] if len(values) == 1 else (over.low, over.high)
    return Scored(over.median, low, high, len(values), is_optimistic)


def _row(model: Model, columns: Sequence[str]) -> Row:
    row: dict[str, str | tuple[str, str]] = {
        "kind": "baseline" if model.is_baseline else "ours",
        "model": model.label,
        "parameters": count(model.parameters).replace(DASH, ""),
    }
    for column in columns:
        row[column] = ""
        if scored := model.scores.get(column):
            value, *low_high, trials, is_optimistic = scored["auroc"]
            lines = [text for text in (interval(*low_high),) if text != DASH]
            lines += [f"{trials}\N{NO-BREAK SPACE}trials"] * (trials > 1)
            row[column] = decimal(value) + OPTIMISTIC * is_optimistic, ", ".join(lines)
    return row
