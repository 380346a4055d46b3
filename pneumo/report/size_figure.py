"""Accuracy against size and speed, with Pareto fronts and the points of the paper's table."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pneumo.evaluation import published
from pneumo.report.curves import shown
from pneumo.report.drawing import (
    INK,
    MUTED,
    PAPER,
    STYLES,
    legend_above,
    panels,
    short_labels,
    size_axis,
    star,
)
from pneumo.report.groups import Cell, Group
from pneumo.report.pareto import competing, costs, fronts

MOST = 24  # networks and ensembles in the picture
PAPERS = "paper's tiny"
LABEL = {
    "parameters": "parameters",
    "multiply_adds": "multiply-adds",
    "images_per_second": "images/s in training",
}


def accuracy_by_size(group: Group) -> Figure | None:
    """Accuracy against parameters, multiply-adds and images/s, with the Pareto front as a line.

    On the paper's images, also the points of the paper's comparison table.
    """
    cells, keys = competing(group)[:MOST], costs(group)
    if not cells or not keys:
        return None
    labels = list(short_labels([cell.label for cell in cells], most=46).values())
    figure, axes = panels(len(keys), height=2.2, labels=[*labels, PAPERS], sharey=True)
    on_front = fronts(group)
    for ax, key in zip(axes, keys, strict=True):
        marks = _marks(group, cells)
        for cell, label, (colour, marker) in zip(cells, labels, marks, strict=True):
            score = cell.spread("accuracy")
            reach = [[score.median - score.low], [score.high - score.median]]
            ax.errorbar(
                cell.size(key).median,
                score.median,
                reach,
                fmt=marker,
                color=colour,
                ms=5,
                capsize=2,
                lw=1,
                mfc="none" if cell.is_ensemble else colour,
                mec=colour if cell.is_ensemble else PAPER,
                mew=1 if cell.is_ensemble else 0.5,
                label=label,
            )
        _front(ax, key, on_front.get(key, []))
        if group.is_papers:
            _paper(ax, key)
        size_axis(ax, LABEL[key])
        ax.margins(x=0.08, y=0.12)
        ax.set_ylabel("accuracy on the test split")
    axes[0].set_title("Accuracy, size and speed")
    legend_above(figure, axes[0])
    return figure


def _marks(group: Group, cells: Sequence[Cell]) -> list[tuple[str, str]]:
    """Colour and marker of each network as in the other pictures; new pairs for the rest."""
    labels = dict.fromkeys(cell.label for cell in (*shown(group), *cells))
    place = {label: number for number, label in enumerate(labels)}
    return [
        (STYLES[i % len(STYLES)][0], STYLES[(i + 3 * (i // len(STYLES))) % len(STYLES)][1])
        for i in (place[cell.label] for cell in cells)
    ]


def _front(ax: Axes, key: str, cells: Sequence[Cell]) -> None:
    places = [(cell.size(key).median, cell.spread("accuracy").median) for cell in cells]
    if places:
        # the accuracy that is possible at most at this cost: steps
        ax.plot(*zip(*places, strict=True), color=INK, lw=0.9, drawstyle="steps-post", zorder=1)


def _paper(ax: Axes, key: str) -> None:
    """The paper's tiny and the rows of its table, none of which has a speed."""
    tiny = {"parameters": published.TINY_PARAMETERS, "multiply_adds": published.TINY_MULTIPLY_ADDS}
    if key in tiny:
        star(ax, tiny[key], published.TINY["accuracy"], PAPERS)
        for peer in published.PEERS:
            _peer(ax, peer, key)


def _peer(ax: Axes, peer: published.Peer, key: str) -> None:
    sizes = getattr(peer, key)
    ax.plot(sizes, [peer.accuracy] * len(sizes), "|-", color=MUTED, lw=0.8, ms=7)
    partly = peer.at_least and key == "multiply_adds"
    ax.annotate(
        f"{peer.name}, without Xception" if partly else peer.name,
        (min(sizes), peer.accuracy),
        (2, -15) if partly else (0, 5) if len(sizes) > 1 else (2, 5),
        color=MUTED,
        fontsize=7,
        textcoords="offset points",
        ha="left" if len(sizes) > 1 else "right",
    )
