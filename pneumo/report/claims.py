"""The paper's comparison table beside our runs of the same networks, and what is comparable."""

from collections.abc import Sequence

from pneumo.cli import counted
from pneumo.evaluation import published
from pneumo.report.groups import DEBUG, Cell, Group
from pneumo.report.table import Row, Table, titled
from pneumo.report.wording import DASH

COLUMNS = ("claim", "claimed", "on", "ours", "comparable")


def claim_table(groups: Sequence[Group]) -> Table:
    """Returns a row for each row of the paper's table.

    Empty without runs on the set's images, or with the paper's own networks only: then it repeats
    the scores.
    """
    real = [group for group in groups if group.data_set.published and group.protocol != DEBUG]
    only_papers = all(c.model in published.NETWORKS for group in real for c in group.rows)
    rows: list[Row] = [
        {
            "claim": (claim.name, claim.networks),
            "claimed": claim.claimed or DASH,
            "on": claim.on,
            "ours": "\n".join(filter(None, (_ours(claim, g) for g in real))) or claim.not_run,
            "comparable": f"{claim.comparable[:1].upper()}{claim.comparable[1:]}. {claim.why}",
        }
        for claim in published.CLAIMS
    ]
    return titled([] if only_papers else rows, *COLUMNS, texts=COLUMNS[1:])


def _ours(claim: published.Claim, group: Group) -> str:
    """A line for each of the claim's networks, and ensembles of them only; "" without any."""
    members = [{n for t in c.trials for n, _ in t.members} or {c.model} for c in group.rows]
    pairs = zip(group.rows, members, strict=True)
    cells = [cell for cell, models in pairs if models <= set(claim.models)]
    optimistic = any(cell.chosen_on == "test" for cell in cells)
    why = " (optimistic: epoch chosen on the test split)" if optimistic else ""
    results = ";\n".join(map(_accuracy, cells))
    return f"{group.protocol} protocol{why}:\n{results}." if cells else ""


def _accuracy(cell: Cell) -> str:
    text, ends = cell.spread("accuracy").cell
    parts = [f"{cell.label}: {text}" + f" ({ends})" * bool(ends), counted(len(cell.trials), "seed")]
    if "model.pretrained" in cell.settings:
        parts.append("pretrained" if cell.settings["model.pretrained"] else "random weights")
    return ", ".join(parts)
