"""The table that a report opens with: each network's score under every protocol, side by side."""

from collections.abc import Sequence

from pneumo.cli import counted
from pneumo.report.groups import DEBUG, Cell, Group
from pneumo.report.table import Row, Table
from pneumo.report.wording import decimal, interval

TITLES = {
    "official": "Official test",
    "holdout": "Random split, held out",
    "kfold": "Folds",
    "paper": "Random split, as in the paper",
}
NOT_RUN = ("", "not run")


def overviews(groups: Sequence[Group]) -> dict[str, Table]:
    """A table for each data set with runs under several protocols, without debug runs.

    Its columns are the groups' slugs: median F1 of NORMAL, and the range and other scores below.
    """
    kinds = dict.fromkeys(group.kind for group in groups)
    of_kind = {
        kind: [g for g in groups if g.kind == kind and g.protocol != DEBUG] for kind in kinds
    }
    return {kind: _overview(same) for kind, same in of_kind.items() if len(same) > 1}


def _overview(groups: Sequence[Group]) -> Table:
    cells = [cell for group in groups for cell in group.rows if cell.trials]
    labels = dict.fromkeys(c.label for c in sorted(cells, key=lambda c: c.is_baseline))
    rows: list[Row] = [
        {"network": label} | {group.slug: _score(group, label) for group in groups}
        for label in labels
    ]
    return Table({"network": "Network"} | {g.slug: _title(g, groups) for g in groups}, rows)


def _title(group: Group, groups: Sequence[Group]) -> str:
    title = TITLES.get(group.protocol, group.protocol)
    if sum(other.protocol == group.protocol for other in groups) > 1:
        title += f", {group.trials[0].metrics['data'].get('images') or 0:,} images"
    how = _how_chosen(group)
    return f"{title} ({how})" if how else title


def _how_chosen(group: Group) -> str:
    """Returns how the group's epochs were chosen; "" for baselines alone."""
    on = {cell.chosen_on for cell in group.networks}
    if "test" in on:
        last = [cell.label for cell in group.networks if cell.chosen_on == "none"]
        but = f", except {', '.join(last)}: last epoch" if last else ""
        return f"optimistic: epoch chosen on the test split{but}"
    names = {"val": "epoch chosen on validation", "none": "last epoch, nothing selected"}
    return "; ".join(names[key] for key in sorted(on & set(names)))


def _score(group: Group, label: str) -> str | tuple[str, str]:
    cell = next((c for c in group.rows if c.label == label and c.trials), None)
    if cell is None:
        return NOT_RUN
    f1 = cell.spread("best", "test", "f1_normal")
    lines = [interval(f1.low, f1.high)] if f1.low < f1.high else []
    lines += [f"AUROC {_median(cell, 'auroc')}", f"acc. {_median(cell, 'accuracy')}"]
    return decimal(f1.median), "\n".join([*lines, counted(len(cell.trials), "trial")])


def _median(cell: Cell, score: str) -> str:
    return decimal(cell.spread("best", "test", score).median)
