"""The picture of the stress test: AUROC against severity, a panel for each change."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from pneumo.report.curves import shown
from pneumo.report.drawing import STYLES, legend_above, panels, short_labels
from pneumo.report.groups import Group
from pneumo.report.stress import tested
from pneumo.runs.stress import Stress, number

COLUMNS = 3
MEAN = "mean"


def stress_curves(group: Group) -> Figure | None:
    """AUROC by severity, 0 for unchanged images: means over runs, one line a recipe."""
    styles = {cell.label: style for cell, style in zip(shown(group), STYLES, strict=False)}
    rows = [row for row in tested(group) if row.cell.label in styles]
    if not rows:
        return None
    curves = [_curves(row.results) for row in rows]
    names = short_labels(list(dict.fromkeys(row.cell.label for row in rows)))
    is_one = len({row.split for row in rows}) == 1
    labels = [names[row.cell.label] + ("" if is_one else f", {row.split}") for row in rows]
    changes = list(curves[0])
    num_rows = -(-len(changes) // COLUMNS)
    figure, axes = panels(num_rows, COLUMNS, height=1.15, labels=labels, sharex=True, sharey=True)
    for ax, name in zip(axes, changes, strict=False):
        ax.set_title(name, fontsize=7.5, fontweight="normal" if name != MEAN else "bold")
        for row, of_row, label in zip(rows, curves, labels, strict=True):
            colour, marker, line = styles[row.cell.label]
            ax.plot(of_row[name], color=colour, marker=marker, ms=2, ls=line, lw=1, label=label)
    for ax in axes[len(changes) :]:
        ax.set_visible(False)
    axes[0].set_xticks(range(6))
    legend_above(figure, axes[0])
    figure.supxlabel("severity, 0: unchanged", fontsize=8)
    figure.supylabel("AUROC", fontsize=8)
    return figure


def _curves(results: Sequence[Stress]) -> dict[str, np.ndarray]:
    """Returns (6,) AUROC by severity of each change, from 0, and their mean over the changes."""
    clean = np.mean([number(result["clean"]["auroc"]) for result in results])
    names = dict.fromkeys(row["corruption"] for row in results[0]["rows"])
    curves = {}
    for name in names:
        of_runs = [
            [number(row["auroc"]) for row in result["rows"] if row["corruption"] == name]
            for result in results
        ]
        curves[name] = np.array([clean, *np.mean(of_runs, axis=0)])
    return curves | {MEAN: np.mean(list(curves.values()), axis=0)}
