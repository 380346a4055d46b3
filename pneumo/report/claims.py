"""The paper's comparison table beside our runs of the same networks, and what can be compared."""

from collections.abc import Sequence
from dataclasses import dataclass

from pneumo.cli import counted
from pneumo.evaluation import published
from pneumo.report.groups import DEBUG, Cell, Group
from pneumo.report.wording import DASH, decimal, interval

COLUMNS = {
    "name": "Row of the paper",
    "claimed": "What it claims",
    "on": "On what",
    "ours": "Our runs: accuracy",
    "comparable": "Comparable",
}


@dataclass(frozen=True)
class ClaimRow:
    """One row of the paper's table, in words."""

    claim: published.Claim
    ours: dict[str, list[str]]  # by protocol, a line for each network; {} where none was run

    def cells(self) -> dict[str, str]:
        """One text a column, for a table without lines in its cells."""
        claim = self.claim
        ours = [f"{where}: {'; '.join(lines)}" for where, lines in self.ours.items()]
        return {
            "name": f"{claim.name}: {claim.networks}",
            "claimed": claim.claimed or DASH,
            "on": claim.on,
            "ours": ". ".join(ours) or claim.not_run,
            "comparable": f"{claim.comparable}. {claim.why}",
        }


def claim_rows(groups: Sequence[Group]) -> list[ClaimRow]:
    """Returns a row for each of the paper's.

    Empty where there are no runs on the set's images, or only of the paper's own networks: then
    the table says nothing that the scores do not.
    """
    real = [group for group in groups if group.kind == "kermany" and group.protocol != DEBUG]
    cells = [cell for group in real for cell in group.rows if cell.trials]
    if all(cell.model in published.NETWORKS for cell in cells):
        return []
    return [ClaimRow(claim, _ours(claim, real)) for claim in published.CLAIMS]


def _ours(claim: published.Claim, groups: Sequence[Group]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for group in groups:
        cells = [cell for cell in group.rows if cell.trials and _is_of(cell, claim)]
        where = f"{group.protocol} protocol"
        if any(cell.settings.get("chosen_on") == "test" for cell in cells):
            where += " (optimistic: epoch chosen on the test split)"
        if cells:
            found.setdefault(where, []).extend(_line(cell) for cell in cells)
    return found


def _is_of(cell: Cell, claim: published.Claim) -> bool:
    """Whether a network is one of the claim's, or an ensemble is of several of them."""
    names = {name for trial in cell.trials for name, _ in trial.members} or {cell.model}
    return names <= set(claim.models)


def _line(cell: Cell) -> str:
    value = cell.spread("best", "test", "accuracy")
    reach = f" ({interval(value.low, value.high)})" if value.low < value.high else ""
    told = [f"{cell.label}: {decimal(value.median)}{reach}", counted(len(cell.trials), "seed")]
    if "model.pretrained" in cell.settings:
        told.append("pretrained" if cell.settings["model.pretrained"] else "random weights")
    return ", ".join(told)
