"""Pareto fronts of accuracy against size and speed: the networks that no other one beats."""

from collections.abc import Sequence

import numpy as np

from pneumo.report.groups import Cell, Group

MIN_NETWORKS = 3  # for a front to be informative
COSTS = {  # by name of the size: title, and 1 if less is better, -1 if more is
    "parameters": ("parameters", 1.0),
    "multiply_adds": ("multiply-adds", 1.0),
    "images_per_second": ("images/s", -1.0),
}


def competing(group: Group) -> list[Cell]:
    """Returns the networks and ensembles with an accuracy; baselines have no comparable size."""
    return [c for c in (*group.networks, *group.ensembles) if c.spread("accuracy").n]


def costs(group: Group) -> list[str]:
    """Returns the comparable keys of COSTS: speed only if all were timed on one device."""
    timed = len(group.devices) == 1
    keys = [key for key in COSTS if timed or key != "images_per_second"]
    return [key for key in keys if any(cell.size(key).n for cell in competing(group))]


def fronts(group: Group) -> dict[str, list[Cell]]:
    """Returns by cost the networks that no other matches in accuracy at as little of it.

    Sorted by accuracy; {} for fewer than MIN_NETWORKS networks.
    """
    # rounded, since networks write float32 and ensembles are computed in float64
    accuracy = {c.label: round(c.spread("accuracy").median, 6) for c in competing(group)}
    cells = sorted(competing(group), key=lambda cell: accuracy[cell.label])
    score = [accuracy[cell.label] for cell in cells]
    on_front = {}
    for key in costs(group) if len(cells) >= MIN_NETWORKS else ():
        is_on = front([COSTS[key][1] * cell.size(key).median for cell in cells], score)
        on_front[key] = [cell for cell, on in zip(cells, is_on, strict=True) if on]
    return on_front


def front(cost: Sequence[float], score: Sequence[float]) -> list[bool]:
    """Returns whether each point is on the front: no other costs less and scores at least as much.

    A point with a NaN is on no front, and beats none.

    >>> front([1, 2, 3, 4], [0.8, 0.9, 0.85, 0.9])
    [True, True, False, False]
    """
    c, s = np.asarray(cost, dtype=np.float64), np.asarray(score, dtype=np.float64)
    no_worse = (c[None] <= c[:, None]) & (s[None] >= s[:, None])
    better = (c[None] < c[:, None]) | (s[None] > s[:, None])
    beaten = (no_worse & better).any(1)
    return [bool(on) for on in np.isfinite(c) & np.isfinite(s) & ~beaten]
