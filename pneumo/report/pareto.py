"""Pareto fronts of accuracy against size and speed: the networks that no other one beats."""

from collections.abc import Sequence

import numpy as np

from pneumo.report.groups import Cell, Group
from pneumo.report.scores import size
from pneumo.report.trials import Trial

MIN_NETWORKS = 3  # for a front to be informative
COSTS = {  # by name of scores.sizes_of: title, and whether more is better
    "parameters": ("parameters", False),
    "multiply_adds": ("multiply-adds", False),
    "images_per_second": ("images/s", True),
}


def competing(group: Group) -> list[Cell]:
    """Returns the networks and ensembles with an accuracy; baselines have no comparable size."""
    cells = [*group.networks, *group.ensembles]
    return [cell for cell in cells if cell.spread("accuracy").n]


def devices(group: Group) -> list[str]:
    """Returns the devices that the group's networks were timed on."""
    return sorted({device(trial) for cell in group.networks for trial in cell.trials})


def device(trial: Trial) -> str:
    """Returns the device that a run was timed on."""
    return str((trial.metrics.get("machine") or {}).get("device"))


def costs(group: Group) -> list[str]:
    """Returns the comparable keys of COSTS: speed only if all were timed on one device."""
    timed = len(devices(group)) == 1
    keys = [key for key in COSTS if timed or key != "images_per_second"]
    return [key for key in keys if any(size(cell, key).n for cell in competing(group))]


def fronts(group: Group) -> dict[str, list[Cell]]:
    """Returns by cost the networks that no other matches in accuracy at as little of it.

    Sorted by accuracy; {} for fewer than MIN_NETWORKS networks.
    """
    cells = competing(group)
    if len(cells) < MIN_NETWORKS:
        return {}
    # rounded, since networks write float32 and ensembles are computed in float64
    accuracy = [round(cell.spread("accuracy").median, 6) for cell in cells]
    on_front = {}
    for key in costs(group):
        sign = -1.0 if COSTS[key][1] else 1.0
        is_on = front([sign * size(cell, key).median for cell in cells], accuracy)
        order = sorted(range(len(cells)), key=lambda i: accuracy[i])
        on_front[key] = [cells[i] for i in order if is_on[i]]
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
