"""The picture of the stress test: AUROC against severity, a panel for each change."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from pneumo.report.curves import shown
from pneumo.report.drawing import STYLES, legend_above, panels
from pneumo.report.groups import Group
from pneumo.runs.metrics import Stress, number

COLUMNS = 3
MEAN = "mean"


def stress_curves(group: Group) -> Figure | None:
    """AUROC by severity, 0 for unchanged images: means over runs, one line a recipe."""
    styles = {cell.label: style for cell, style in zip(shown(group), STYLES, strict=False)}
    tested: dict[tuple[str, str], list[Stress]] = defaultdict(list)
    for cell in (cell for cell in group.networks if cell.label in styles):
        for stress in filter(None, (trial.metrics.get("stress") for trial in cell.trials)):
            tested[cell.label, stress["split"]].append(stress)
    if not tested:
        return None
    curves = [_curves(results) for results in tested.values()]
    is_one = len({split for _, split in tested}) == 1
    labels = [label + ("" if is_one else f", {split}") for label, split in tested]
    changes = list(curves[0])
    num_rows = -(-len(changes) // COLUMNS)
    figure, axes = panels(num_rows, COLUMNS, height=1.15, sharex=True, sharey=True)
    for ax, name in zip(axes, changes, strict=False):
        ax.set_title(name, fontsize=7.5, fontweight="normal" if name != MEAN else "bold")
        for (network, _), curve, label in zip(tested, curves, labels, strict=True):
            colour, marker, line = styles[network]
            ax.plot(curve[name], color=colour, marker=marker, ms=2, ls=line, lw=1, label=label)
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
