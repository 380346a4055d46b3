"""Which networks no other one beats: the Pareto fronts of accuracy against what a network takes."""

from collections.abc import Sequence

import numpy as np

from pneumo.report.caveats import device
from pneumo.report.groups import Cell, Group
from pneumo.report.tables import sizes

FEWEST = 3  # networks, of which a front says something
COSTS = {  # of sizes, and whether more of it is better
    "parameters": False,
    "multiply_adds": False,
    "images_per_second": True,
}
NAMES = {
    "parameters": "parameters",
    "multiply_adds": "multiply-adds",
    "images_per_second": "images/s",
}


def competing(group: Group) -> list[Cell]:
    """Networks and ensembles with an accuracy; baselines have no size that could be compared."""
    cells = [*group.networks, *group.ensembles]
    return [cell for cell in cells if cell.spread("best", "test", "accuracy").n]


def devices(group: Group) -> list[str]:
    """What the group's networks were timed on."""
    return sorted({device(trial) for cell in group.networks for trial in cell.trials})


def costs(group: Group) -> list[str]:
    """The keys of COSTS that can be compared: speed only where all were timed on one device."""
    timed = len(devices(group)) == 1
    keys = [key for key in COSTS if timed or key != "images_per_second"]
    return [key for key in keys if any(sizes(cell)[key].n for cell in competing(group))]


def fronts(group: Group) -> dict[str, list[Cell]]:
    """By what is compared, those that no other matches in accuracy at as little of it.

    Sorted by accuracy. Nothing where there are too few networks to say something.
    """
    cells = competing(group)
    if len(cells) < FEWEST:
        return {}
    # rounded, since networks write float32 and ensembles are computed in float64
    accuracy = [round(cell.spread("best", "test", "accuracy").median, 6) for cell in cells]
    found = {}
    for key in costs(group):
        sign = -1.0 if COSTS[key] else 1.0
        cost = [sign * sizes(cell)[key].median for cell in cells]
        on = [cell for cell, best in zip(cells, front(cost, accuracy), strict=True) if best]
        found[key] = sorted(on, key=lambda c: c.spread("best", "test", "accuracy").median)
    return found


def front(cost: Sequence[float], score: Sequence[float]) -> list[bool]:
    """Whether each point is on the Pareto front: none has less cost and more score, or one as good.

    A point with a NaN is on none, and beats none.

    >>> front([1, 2, 3, 4], [0.8, 0.9, 0.85, 0.9])
    [True, True, False, False]
    """
    c, s = np.asarray(cost, dtype=np.float64), np.asarray(score, dtype=np.float64)
    no_worse = (c[None] <= c[:, None]) & (s[None] >= s[:, None])
    better = (c[None] < c[:, None]) | (s[None] > s[:, None])
    beaten = (no_worse & better).any(1)
    known = np.isfinite(c) & np.isfinite(s)
    return [bool(one) for one in known & ~beaten]
