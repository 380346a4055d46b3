"""Pictures that compare recipes: by size and speed, and by changed images."""

from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, NullLocator

from pneumo.evaluation import published
from pneumo.report.drawing import INK, PAPER, STYLES, legend_above, panels, shown, star
from pneumo.report.groups import Group
from pneumo.report.scores import paper_figure
from pneumo.report.tables import competing, costs, fronts
from pneumo.runs.metrics import number

MOST_BY_SIZE = 24  # networks and ensembles
LABEL = {
    "parameters": "parameters",
    "multiply_adds": "multiply-adds",
    "images_per_second": "images/s in training",
}
COLUMNS = 3  # of changes
MEAN = "mean"  # over all changes


def accuracy_by_size(group: Group) -> Figure | None:
    """Accuracy against parameters, multiply-adds and images/s, with the Pareto front as a line."""
    cells, keys = competing(group)[:MOST_BY_SIZE], costs(group)
    if not cells or not keys:
        return None
    # colours and markers as in the other pictures; new pairs for the rest
    order = list(dict.fromkeys(c.label for c in (*(cell for cell, _ in shown(group)), *cells)))
    figure, axes = panels(len(keys), height=2.2, sharey=True)
    on_front = fronts(group)
    for ax, key in zip(axes, keys, strict=True):
        for cell in cells:
            turn, i = divmod(order.index(cell.label), len(STYLES))
            colour, marker = STYLES[i][0], STYLES[(i + 3 * turn) % len(STYLES)][1]
            x, score = cell.size(key).median, cell.spread("accuracy")
            ax.plot([x, x], [score.low, score.high], color=colour, lw=1)
            face, edge = ("none", colour) if cell.is_ensemble else (colour, PAPER)
            look: dict[str, Any] = {"mfc": face, "mec": edge, "mew": 0.8, "ms": 5, "ls": "none"}
            ax.plot(x, score.median, marker, label=cell.label, **look)
        places = [(c.size(key).median, c.spread("accuracy").median) for c in on_front.get(key, ())]
        if places:  # the accuracy that is possible at most at this cost: steps
            ax.plot(*zip(*places, strict=True), color=INK, lw=0.9, drawstyle="steps-post", zorder=1)
        if group.is_papers and key != "images_per_second":
            star(ax, paper_figure("tiny", key), published.TINY["accuracy"])
        ax.set(xscale="log", xlabel=LABEL[key], ylabel="accuracy on the test split")
        low, high = ax.get_xlim()
        ax.xaxis.set_major_locator(LogLocator(subs=(1,) if high > 100 * low else (1, 2, 5)))
        ax.xaxis.set_major_formatter(EngFormatter())  # 100 k, 10 M, 1 G
        ax.xaxis.set_minor_locator(NullLocator())
        ax.margins(x=0.08, y=0.12)
    axes[0].set_title("Accuracy, size and speed")
    legend_above(figure, axes[0])
    return figure


def stress_curves(group: Group) -> Figure | None:
    """AUROC by severity, 0 for unchanged images: means over runs, one line a recipe."""
    styles = {cell.label: style for cell, style in shown(group)}
    rows = [
        (cell.label, stress["split"], change, severity, number(scores["auroc"]))
        for cell in group.networks
        for stress in (trial.stress for trial in cell.trials if trial.stress)
        for row in stress["rows"]
        for severity, scores in ((0, stress["clean"]), (row["severity"], row))
        for change in (row["corruption"], MEAN)
        if cell.label in styles
    ]
    if not rows:
        return None
    table = pd.DataFrame(rows, columns=["network", "split", "change", "severity", "auroc"])
    places = ["network", "split", "change"]
    curves = table.pivot_table("auroc", places, "severity", sort=False)
    changes = sorted(table["change"].unique(), key=lambda name: name == MEAN)
    num_rows = -(-len(changes) // COLUMNS)
    figure, axes = panels(num_rows, COLUMNS, height=1.15, sharex=True, sharey=True)
    for ax, name in zip(axes, changes, strict=False):
        ax.set_title(name, fontsize=7.5, fontweight="normal" if name != MEAN else "bold")
        of_change = curves.xs(name, level="change")
        for (network, split), curve in zip(of_change.index, of_change.to_numpy(), strict=True):
            (colour, marker, line), label = styles[network], network
            if table["split"].nunique() > 1:
                label += f", {split}"
            ax.plot(curve, color=colour, marker=marker, ms=2, ls=line, lw=1, label=label)
    for ax in axes[len(changes) :]:
        ax.set_visible(False)
    axes[0].set_xticks(range(6))
    legend_above(figure, axes[0])
    figure.supxlabel("severity, 0: unchanged", fontsize=8)
    figure.supylabel("AUROC", fontsize=8)
    return figure
