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
    "comparable": "Comparable?",
}


@dataclass(frozen=True)
class ClaimRow:
    """One row of the paper's table, in words; ``ours`` is a line for each network and protocol."""

    claim: published.Claim
    ours: list[str]

    def cells(self) -> dict[str, str]:
        """One text a column, for a table without lines in its cells."""
        claim = self.claim
        return {
            "name": f"{claim.name}: {claim.networks}",
            "claimed": claim.claimed or DASH,
            "on": claim.on,
            "ours": "; ".join(self.ours),
            "comparable": f"{claim.comparable}. {claim.why}",
        }


def claim_rows(groups: Sequence[Group]) -> list[ClaimRow]:
    """Returns a row for each of the paper's.

    Empty where there are no runs on the set's images, or only of the paper's own networks: then
    the table says nothing that the scores do not.
    """
    real = [group for group in groups if group.kind == "kermany" and group.protocol != DEBUG]
    cells = [(cell, group) for group in real for cell in group.rows if cell.trials]
    if all(cell.model in published.NETWORKS for cell, _ in cells):
        return []
    return [ClaimRow(claim, _ours(claim, cells)) for claim in published.CLAIMS]


def _ours(claim: published.Claim, cells: Sequence[tuple[Cell, Group]]) -> list[str]:
    found = [_line(cell, group) for cell, group in cells if _is_of(cell, claim)]
    return found or [claim.not_run]


def _is_of(cell: Cell, claim: published.Claim) -> bool:
    """Whether a network is one of the claim's, or an ensemble is of several of them."""
    names = {name for trial in cell.trials for name, _ in trial.members} or {cell.model}
    return names <= set(claim.models)


def _line(cell: Cell, group: Group) -> str:
    value = cell.spread("best", "test", "accuracy")
    reach = f" ({interval(value.low, value.high)})" if value.low < value.high else ""
    told = [f"{group.protocol} split", counted(len(cell.trials), "seed")]
    if cell.settings.get("chosen_on") == "test":
        told.append("epoch chosen on test")
    if "model.pretrained" in cell.settings:
        told.append("pretrained" if cell.settings["model.pretrained"] else "random weights")
    return f"{cell.label} {decimal(value.median)}{reach}: {', '.join(told)}"
