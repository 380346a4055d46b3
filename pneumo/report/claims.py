"""The paper's comparison table beside our runs of the same networks, and what is comparable."""

from collections.abc import Sequence

from pneumo.cli import counted
from pneumo.evaluation import published
from pneumo.report.groups import DEBUG, Cell, Group
from pneumo.report.table import Row, Table, titled
from pneumo.report.wording import DASH, decimal, interval

COLUMNS = ("claim", "claimed", "on", "ours", "comparable")


def claim_table(groups: Sequence[Group]) -> Table:
    """Returns a row for each row of the paper's table.

    Empty without runs on the set's images, or with the paper's own networks only: then it repeats
    the scores.
    """
    real = [group for group in groups if group.data_set.published and group.protocol != DEBUG]
    cells = [cell for group in real for cell in group.rows if cell.trials]
    only_papers = all(cell.model in published.NETWORKS for cell in cells)
    rows: list[Row] = [
        {
            "claim": (claim.name, claim.networks),
            "claimed": claim.claimed or DASH,
            "on": claim.on,
            "ours": _ours(claim, real) or claim.not_run,
            "comparable": f"{claim.comparable[:1].upper()}{claim.comparable[1:]}. {claim.why}",
        }
        for claim in published.CLAIMS
    ]
    return titled([] if only_papers else rows, *COLUMNS, texts=COLUMNS[1:])


def _ours(claim: published.Claim, groups: Sequence[Group]) -> str:
    """A line for each network and protocol."""
    lines = []
    for group in groups:
        # the claim's networks, and ensembles of them only
        names = [
            {n for t in cell.trials for n, _ in t.members} or {cell.model} for cell in group.rows
        ]
        pairs = zip(group.rows, names, strict=True)
        cells = [cell for cell, of in pairs if cell.trials and of <= set(claim.models)]
        optimistic = any(cell.chosen_on == "test" for cell in cells)
        why = " (optimistic: epoch chosen on the test split)" if optimistic else ""
        if cells:
            results = ";\n".join(map(_accuracy, cells))
            lines.append(f"{group.protocol} protocol{why}:\n{results}.")
    return "\n".join(lines)


def _accuracy(cell: Cell) -> str:
    value = cell.spread("accuracy")
    ends = f" ({interval(value.low, value.high)})" if value.low < value.high else ""
    parts = [f"{cell.label}: {decimal(value.median)}{ends}", counted(len(cell.trials), "seed")]
    if "model.pretrained" in cell.settings:
        parts.append("pretrained" if cell.settings["model.pretrained"] else "random weights")
    return ", ".join(parts)
