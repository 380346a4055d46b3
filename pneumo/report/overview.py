"""The table that a report opens with: each network's score under every protocol, side by side."""

from collections.abc import Sequence
from dataclasses import dataclass

from pneumo.report.groups import DEBUG, Cell, Group
from pneumo.report.wording import decimal, interval

TITLES = {
    "official": "Official test",
    "holdout": "Random split, held out",
    "kfold": "Folds",
    "paper": "Random split, as in the paper",
}
NOT_RUN = "not run"


@dataclass(frozen=True)
class Overview:
    """The networks of one data set, a row each, by protocol, a column each."""

    kind: str  # of the data set
    columns: list[tuple[str, str, str]]  # of a group: slug, title, how its epoch was chosen
    rows: list[tuple[str, list[tuple[str, list[str]]]]]  # label; F1 and what stands below it


def overviews(groups: Sequence[Group]) -> list[Overview]:
    """A table for each data set with runs under several protocols; debug runs are in none."""
    kinds = dict.fromkeys(group.kind for group in groups)
    of_kind = [[g for g in groups if g.kind == kind and g.protocol != DEBUG] for kind in kinds]
    return [_overview(own) for own in of_kind if len(own) > 1]


def _overview(groups: Sequence[Group]) -> Overview:
    cells = [cell for group in groups for cell in group.rows if cell.trials]
    labels = dict.fromkeys(c.label for c in sorted(cells, key=lambda c: c.is_baseline))
    return Overview(
        groups[0].kind,
        [_column(group, groups) for group in groups],
        [(label, [_score(group, label) for group in groups]) for label in labels],
    )


def _column(group: Group, groups: Sequence[Group]) -> tuple[str, str, str]:
    title = TITLES.get(group.protocol, group.protocol)
    if sum(other.protocol == group.protocol for other in groups) > 1:
        title += f", {group.trials[0].metrics['data'].get('images') or 0:,} images"
    return group.slug, title, how_chosen(group)


def how_chosen(group: Group) -> str:
    """Returns how the group's epochs were chosen; "" for baselines alone."""
    on = {str(cell.settings.get("chosen_on")) for cell in group.networks}
    if "test" in on:
        last = [cell.label for cell in group.networks if cell.settings.get("chosen_on") == "none"]
        but = f", except {', '.join(last)}: last epoch" if last else ""
        return f"optimistic: epoch chosen on the test split{but}"
    names = {"val": "epoch chosen on validation", "none": "last epoch, nothing selected"}
    return "; ".join(names[key] for key in sorted(on & set(names)))


def _score(group: Group, label: str) -> tuple[str, list[str]]:
    cell = next((c for c in group.rows if c.label == label and c.trials), None)
    return (NOT_RUN, []) if cell is None else (_median(cell, "f1_normal"), _below(cell))


def _below(cell: Cell) -> list[str]:
    f1 = cell.spread("best", "test", "f1_normal")
    lines = [interval(f1.low, f1.high)] if f1.low < f1.high else []
    lines += [f"AUROC {_median(cell, 'auroc')}", f"acc. {_median(cell, 'accuracy')}"]
    return [*lines, "1 trial" if len(cell.trials) == 1 else f"{len(cell.trials)} trials"]


def _median(cell: Cell, score: str) -> str:
    return decimal(cell.spread("best", "test", score).median)
