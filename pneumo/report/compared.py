"""All comparisons of a group, computed once for the sentences, the tables and comparisons.csv."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pneumo.evaluation.paired import DIFFERENCES
from pneumo.report.comparisons import (
    Difference,
    Margin,
    Optimism,
    differences,
    margins,
    optimism,
)
from pneumo.report.groups import Group
from pneumo.report.paired import Pair, pairs


class Compared(NamedTuple):
    """A group's networks compared with each other and with its baselines."""

    differences: list[Difference]
    margins: list[Margin]
    pairs: list[Pair]
    optimism: list[Optimism]


def compare(groups: Sequence[Group]) -> dict[str, Compared]:
    """Returns the comparisons of each group, by its slug."""
    return {
        group.slug: Compared(
            differences(group), margins(group), pairs(group), optimism(group, groups=groups)
        )
        for group in groups
    }


def comparison_rows(compared: Mapping[str, Compared]) -> list[dict[str, Any]]:
    """A row a difference of two networks, of a network and a baseline, and a way to choose epochs.

    The column over says what the interval covers: several trials, or one trial's patients.
    """
    return [{"group": slug} | row for slug, each in compared.items() for row in _rows(each)]


def _rows(compared: Compared) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = [
        {"what": f"{row.first} minus {row.second}", "score": row.score, "trials": row.pairs}
        | row.test._asdict()
        | {"p_holm": row.p_holm}
        for row in compared.differences
    ]
    rows += [
        {"what": f"{row.network} minus {row.baseline}", "score": row.score, "over": row.over}
        | {"trials": row.pairs, **row.test._asdict()}
        for row in compared.margins
    ]
    rows += [
        {"what": f"{row.first} minus {row.second}", "score": score, "over": row.over, "trials": 1}
        | {"difference": row.found[score]["value"]}
        | {key: row.found[score][key] for key in ("low", "high")}
        for row in compared.pairs
        for score in DIFFERENCES
    ]
    rows += [
        {"what": f"{row.label}: {row.how}", "score": row.score, "trials": row.n}
        | row.test._asdict()
        for row in compared.optimism
    ]
    return rows
