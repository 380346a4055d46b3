"""Accuracy against size and speed, with Pareto fronts."""

from typing import Any

from matplotlib.figure import Figure

from pneumo.evaluation import published
from pneumo.report.curves import shown
from pneumo.report.drawing import (
    INK,
    PAPER,
    STYLES,
    legend_above,
    panels,
    size_axis,
    star,
)
from pneumo.report.groups import Group
from pneumo.report.pareto import competing, costs, fronts
from pneumo.report.scores import paper_figure

MOST = 24  # networks and ensembles in the picture
PAPERS = "paper's tiny"
LABEL = {
    "parameters": "parameters",
    "multiply_adds": "multiply-adds",
    "images_per_second": "images/s in training",
}


def accuracy_by_size(group: Group) -> Figure | None:
    """Accuracy against parameters, multiply-adds and images/s, with the Pareto front as a line."""
    cells, keys = competing(group)[:MOST], costs(group)
    if not cells or not keys:
        return None
    # colours and markers as in the other pictures; new pairs for the rest
    order = list(dict.fromkeys(cell.label for cell in (*shown(group), *cells)))
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
        if places:
            # the accuracy that is possible at most at this cost: steps
            ax.plot(*zip(*places, strict=True), color=INK, lw=0.9, drawstyle="steps-post", zorder=1)
        if group.is_papers and key != "images_per_second":
            star(ax, paper_figure("tiny", key), published.TINY["accuracy"], PAPERS)
        size_axis(ax, LABEL[key])
        ax.margins(x=0.08, y=0.12)
        ax.set_ylabel("accuracy on the test split")
    axes[0].set_title("Accuracy, size and speed")
    legend_above(figure, axes[0])
    return figure
