"""Accuracy against the size of a network, with the paper's comparison table as points."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pneumo.evaluation import published
from pneumo.report.curves import has_long_labels, shown
from pneumo.report.drawing import (
    MUTED,
    PAPER,
    STYLES,
    clipped,
    legend_above,
    panels,
    size_axis,
    star,
)
from pneumo.report.groups import Group
from pneumo.report.trials import number


def accuracy_by_size(group: Group) -> Figure | None:
    """Accuracy against parameters and against multiply-adds, with the paper's table as points."""
    if not group.networks:
        return None
    columns = 2 if has_long_labels(shown(group)) else 3
    top = 0.28 + 0.16 * (1 + len(shown(group)) // columns)  # inches: the title, the legend's rows
    figure, axes = panels(rows=2, height=4.6 + top, top=top, gap=0.45, sharey=True)
    for ax, size in zip(axes, ("parameters", "multiply_adds"), strict=True):
        for cell, (colour, marker, _) in zip(shown(group), STYLES, strict=False):
            if cell.is_baseline:  # of no size that could be compared
                continue
            score = cell.spread("best", "test", "accuracy")
            reach = [[score.median - score.low], [score.high - score.median]]
            at = number(cell.trials[0].metrics, size)
            ax.errorbar(
                at,
                score.median,
                reach,
                fmt=marker,
                color=colour,
                ms=5,
                capsize=2,
                lw=1,
                mec=PAPER,
                mew=0.5,
                label=clipped(cell.label, 21),
            )
        if group.kind == "kermany":
            own = {
                "parameters": published.TINY_PARAMETERS,
                "multiply_adds": published.TINY_MULTIPLY_ADDS,
            }
            star(ax, own[size], published.TINY["accuracy"], "paper's tiny")
            for peer in published.PEERS:
                _peer(ax, peer, size)
        size_axis(ax, size.replace("_", "-"))
        ax.margins(x=0.08, y=0.12)
        ax.set_ylabel("accuracy on the test split")
    axes[0].set_title("Accuracy and size")
    legend_above(figure, axes[0], columns=columns)
    return figure


def _peer(ax: Axes, peer: published.Peer, size: str) -> None:
    sizes = getattr(peer, size)
    ax.plot(sizes, [peer.accuracy] * len(sizes), "|-", color=MUTED, lw=0.8, ms=7)
    partly = peer.at_least and size == "multiply_adds"
    ax.annotate(
        f"{peer.name}, without Xception" if partly else peer.name,
        (min(sizes), peer.accuracy),
        (2, -15) if partly else (0, 5) if len(sizes) > 1 else (2, 5),
        color=MUTED,
        fontsize=7,
        textcoords="offset points",
        ha="left" if len(sizes) > 1 else "right",
    )
