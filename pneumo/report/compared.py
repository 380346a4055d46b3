"""All comparisons of a group, made once for the sentences, the tables and the page."""

from collections.abc import Sequence
from typing import NamedTuple

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
    """A group's networks beside each other and beside its baselines."""

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
