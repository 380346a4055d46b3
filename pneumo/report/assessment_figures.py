"""Pictures of calibration and use: reliability before and after, and decision curves."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pneumo.evaluation.metrics import Array
from pneumo.report.assessments import known_assessments, pooled
from pneumo.report.curves import shown
from pneumo.report.drawing import MUTED, PAPER, STYLES, band, legend_above, panels, short_labels
from pneumo.report.groups import Group

EVERYONE = "treating everyone"


def reliability(group: Group) -> Figure | None:
    """Observed share of PNEUMONIA against probability, before and after the temperature."""
    cells = [(cell, known_assessments(cell)) for cell in shown(group)]
    if not any(assessed for _, assessed in cells):
        return None
    states = ["before"]
    if any(each.after.size for _, assessed in cells for each in assessed):
        states.append("after")
    height = 4.2 - len(states)
    labels = short_labels([cell.label for cell, _ in cells])
    share = {"sharex": True, "sharey": True}
    figure, axes = panels(1, len(states), height=height, labels=list(labels.values()), **share)
    for ax, state in zip(axes, states, strict=True):
        ax.plot([0, 1], [0, 1], color=MUTED, lw=0.8, ls=(0, (4, 2)))
        for (cell, assessed), (colour, marker, line) in zip(cells, STYLES, strict=False):
            if assessed:
                bins = pooled([getattr(each, state) for each in assessed])
                _bins(ax, bins, colour, marker, line, labels[cell.label])
        ax.set(title="as predicted" if state == "before" else "calibrated")
        ax.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
    legend_above(figure, axes[0])
    figure.supxlabel("probability of PNEUMONIA", fontsize=8)
    axes[0].set_ylabel("share of PNEUMONIA")
    return figure


def decision_curve(group: Group) -> Figure | None:
    """Net benefit against the threshold, beside treating everyone and no one."""
    cells = [(cell, known_assessments(cell)) for cell in shown(group)]
    grids = [each.benefit for _, assessed in cells for each in assessed]
    if not grids:
        return None
    labels = short_labels([cell.label for cell, _ in cells])
    figure, (ax,) = panels(1, height=2.8, labels=[*labels.values(), EVERYONE])
    x = grids[0][:, 0]
    for (cell, assessed), (colour, _, line) in zip(cells, STYLES, strict=False):
        curves = [each.benefit for each in assessed]
        same = [curve[:, 1] for curve in curves if np.array_equal(curve[:, 0], x)]
        if same:
            label = labels[cell.label]
            band(ax, x, np.array(same), colour, line, label, among=len(cells))
    everyone = np.median([grid[:, 2] for grid in grids if np.array_equal(grid[:, 0], x)], axis=0)
    ax.plot(x, everyone, color=MUTED, lw=1, ls=(0, (4, 2)), label=EVERYONE)
    ax.axhline(0, color=MUTED, lw=0.8)
    highest = float(np.nanmax([grid[:, 1].max() for grid in grids]))
    ax.set(xlim=(0, 1), ylim=(-0.1 * highest - 0.02, 1.08 * highest + 0.02))
    ax.set(xlabel="probability of PNEUMONIA to treat from", ylabel="net benefit per image")
    legend_above(figure, ax)
    return figure


def _bins(ax: Axes, bins: Array, colour: str, marker: str, line: object, label: str) -> None:
    if not bins.size:
        return
    ax.plot(bins[:, 1], bins[:, 2], color=colour, ls=line, lw=1)
    sizes = 3 + 60 * bins[:, 0] / bins[:, 0].sum()
    ax.scatter(bins[:, 1], bins[:, 2], s=sizes, c=colour, marker=marker, ec=PAPER, lw=0.3, zorder=3)
    ax.plot([], [], color=colour, ls=line, marker=marker, label=label)
