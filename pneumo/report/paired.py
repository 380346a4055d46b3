"""Networks with each other within a trial: on the same test images, over their patients."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from pneumo.evaluation.paired import DIFFERENCES, Drawn, draw, minus
from pneumo.report.assessments import Assessment
from pneumo.report.comparisons import MOST_COMPARED
from pneumo.report.groups import Group
from pneumo.report.table import Table, titled
from pneumo.report.trials import Trial, split_name
from pneumo.report.wording import decimal, interval


class Pair(NamedTuple):
    """One network minus another on the test images of one trial of both."""

    first: str
    second: str
    over: str  # "patients of seed 3"
    found: dict[str, Any]  # of pneumo.evaluation.paired


def pairs(group: Group) -> list[Pair]:
    """Every pair of the group's first networks within each trial that both have.

    Only trials whose test images are the same make a pair. Sensitivity and specificity are each at
    the network's own operating point, at 0.5 where validation fixes none.
    """
    cells = group.networks[:MOST_COMPARED]
    common = [
        (first.label, second.label, split, first.by_split()[split], second.by_split()[split])
        for index, first in enumerate(cells)
        for second in cells[index + 1 :]
        for split in first.by_split()
        if split in second.by_split()
    ]
    common = [row for row in common if _same_images(*row[3:])]
    # settings of one network, tried once each, are not to be chosen by the test split
    tried = Counter(row[:2] for row in common)
    model = {cell.label: cell.model for cell in cells}
    common = [r for r in common if model[r[0]] != model[r[1]] or tried[r[:2]] > 1]
    # each trial once: drawing takes most of the time
    drawn = {one.name: one for row in common for one in row[3:]}
    draws = {name: _drawn(one) for name, one in drawn.items()}
    return [
        Pair(a, b, f"patients of {split_name(split)}", minus(draws[one.name], draws[other.name]))
        for a, b, split, one, other in common
    ]


def table(found: Sequence[Pair]) -> Table:
    """The first trial of each pair: differences, and their intervals below."""
    firsts = {(row.first, row.second): row for row in reversed(found)}
    rows = [
        {"pair": f"{row.first} minus {row.second}", "over": row.over}
        | {name: _cell(row.found[name]) for name in DIFFERENCES}
        | {"called_differently": f"{row.found['called_differently']:,} images"}
        for row in reversed(firsts.values())
    ]
    return titled(rows, "pair", "over", *DIFFERENCES, "called_differently", texts=("over",))


def _cell(found: dict[str, float]) -> tuple[str, str]:
    ends = interval(found["low"], found["high"], sign=True)
    return decimal(found["value"], sign=True), ends


def _same_images(one: Trial, other: Trial) -> bool:
    return bool(one.path.size and np.array_equal(one.path, other.path))


def _drawn(trial: Trial) -> Drawn:
    return draw(trial.label, trial.probability, patient=trial.patient, threshold=_threshold(trial))


def _threshold(trial: Trial) -> float:
    known = trial.metrics.get("assessed")
    value = known.numbers["threshold"].value if isinstance(known, Assessment) else float("nan")
    return 0.5 if np.isnan(value) else value
