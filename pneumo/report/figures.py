"""The pictures of a report, one journal column wide, readable in grey and by colour-blind readers.

Each function returns a matplotlib Figure of one group; `draw` turns it into PNG and SVG.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pneumo.evaluation import published
from pneumo.labels import NORMAL
from pneumo.report.assessment_figures import decision_curve, reliability
from pneumo.report.curves import (
    has_long_labels,
    history_table,
    mean_confusion,
    precision_recall_band,
    roc_band,
    shown,
)
from pneumo.report.drawing import (
    INK,
    MUTED,
    PAPER,
    STYLES,
    band,
    clipped,
    legend_above,
    panels,
    render,
    settings,
    star,
    wrapped,
)
from pneumo.report.groups import Cell, Group
from pneumo.report.size_figure import accuracy_by_size
from pneumo.report.trials import number

FEW = 2  # trials, of which a box is none
LEAST_F1_SHOWN = 0.02  # of the axis, where all scores are alike


def draw(picture: Callable[[Group], Figure | None], group: Group) -> tuple[bytes, str] | None:
    """A picture of a group as the bytes of a PNG (200 dpi) and the text of an SVG, if there is one.

    None where the group has nothing that the picture could show.
    """
    with settings():
        figure = picture(group)
        return None if figure is None else render(figure)


def f1_by_network(group: Group) -> Figure | None:
    """Figure 1 of the paper: train and test F1 of each class, a box and the points.

    Train F1 is in evaluation mode; crosses where runs have that of their training steps only, with
    augmentation and dropout and so lower.

    Of networks, where there are any: the F1 of a baseline that calls nothing NORMAL is 0, and
    would leave the others no room.
    """
    cells = [cell for cell in shown(group) if not cell.is_baseline] or shown(group)
    slanted = len(cells) > 5 or has_long_labels(cells)
    room = 0.8 if slanted else 0.14  # inches, for long labels, or a second line
    kinds = {cell.train_split for cell in cells}
    rows_of_legend = 0.2 * (len(kinds) - 1)  # inches
    figure, axes = panels(
        rows=2,
        height=4.6 + room + rows_of_legend,
        top=0.45 + rows_of_legend,
        bottom=0.35 + room,
        sharex=True,
    )
    for ax, name in zip(axes, ("normal", "pneumonia"), strict=True):
        for place, (cell, style) in enumerate(zip(cells, STYLES, strict=False)):
            for split, shift in ((cell.train_split, -0.2), ("test", 0.2)):
                scores = [trial.score("best", split, f"f1_{name}") for trial in cell.trials]
                _box(ax, place + shift, scores, style=style, split=split)
        ax.set_title(f"F1 of {name.upper()}")
        ax.set_ylabel("F1 at the best epoch")
        ax.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        ax.grid(axis="x", visible=False)
    if group.kind == "kermany":
        _paper_f1(axes[0], cells)
    for ax in axes:
        low, high = ax.get_ylim()
        spare = max(0.0, LEAST_F1_SHOWN - (high - low)) / 2  # else ticks of four decimals
        high = min(high + spare, 1.0 + 0.002)
        low = max(low, -0.02)
        ax.set_ylim(min(low - spare, high - LEAST_F1_SHOWN), high)
    if "train_eval" in kinds:
        axes[0].plot([], [], "o", mfc="none", mec=INK, label="train")
    if "train" in kinds:
        axes[0].plot([], [], "x", mec=INK, label="train, of the steps")
    axes[0].plot([], [], "o", mfc=INK, mec=INK, label="test")
    legend_above(figure, axes[0], columns=4 if len(kinds) == 1 else 3)
    axes[1].set_xticks(range(len(cells)), [_with_trials(cell) for cell in cells])
    if slanted:
        for text in axes[1].get_xticklabels():
            text.set(rotation=45, ha="right", rotation_mode="anchor")
    axes[1].set_xlim(-0.6, len(cells) - 0.4)
    return figure


def learning_curves(group: Group) -> Figure | None:
    """F1 of NORMAL by epoch: the median over trials, and the range from lowest to highest."""
    styles = _styles(group)
    cells = [c for c in shown(group) if np.isfinite(history_table(c, "test", "f1_normal")).any()]
    if not cells:
        return None
    columns = min(2, len(cells))
    rows = (len(cells) + 1) // 2
    lines = 0.12 if has_long_labels(cells) else 0  # inches, for a second line of each title
    figure, axes = panels(
        rows=rows,
        columns=columns,
        height=0.75 + (1.6 + lines) * rows + (0.6 if columns == 1 else 0),
        top=0.45 + lines,
        gap=0.3 + lines,
        sharex=True,
        sharey=True,
    )
    floor = 1.0
    for ax, cell in zip(axes, cells, strict=False):
        style = styles[cell.label]
        for split, colour, line in (("train", MUTED, (0, (2, 1))), ("test", style[0], "-")):
            curves = history_table(cell, split, "f1_normal")
            middle = band(ax, np.arange(1, curves.shape[1] + 1), curves, colour, line, split)
            late = middle[len(middle) // 5 :]
            floor = np.nanmin([floor, *late])
        best = [
            (number(t.metrics["best"], "epoch") + 1, t.score("best", "test", "f1_normal"))
            for t in cell.trials
        ]
        ax.plot(
            *zip(*best, strict=True),
            style[1],
            color=style[0],
            mec=PAPER,
            mew=0.5,
            ls="none",
            label="best epoch",
        )
        ax.set_title(wrapped(cell.label))
    for ax in axes[len(cells) :]:
        ax.set_visible(False)
    axes[0].xaxis.set_major_locator(MaxNLocator(4, integer=True))
    legend_above(figure, axes[0], columns=3)
    axes[0].set_ylim(max(0.0, floor - 0.08), 1.005)
    figure.supxlabel("epoch", fontsize=8, y=0.01)
    figure.supylabel("F1 of NORMAL", fontsize=8, x=0.01)
    return figure


def roc_and_precision_recall(group: Group) -> Figure | None:
    """ROC of PNEUMONIA and precision-recall of NORMAL on the test split, with bands."""
    cells = [cell for cell in shown(group) if any(t.label.size for t in cell.trials)]
    cells = [c for c in cells if not _knows_nothing(c)] or cells
    if not cells:
        return None
    figure, (roc, recall) = panels(rows=2, height=6.2, gap=0.7)
    styles = _styles(group)
    for cell in cells:
        colour, _, line = styles[cell.label]
        auroc = cell.spread("best", "test", "auroc").median
        grid, curves = roc_band(cell)
        label = f"{clipped(cell.label, 24)}, AUROC {auroc:.3f}"
        band(roc, grid, curves, colour, line, label, among=len(cells))
        f1 = cell.spread("best", "test", "f1_normal").median
        grid, curves = precision_recall_band(cell)
        label = f"{clipped(cell.label, 24)}, F1 {f1:.3f}"
        band(recall, grid, curves, colour, line, label, among=len(cells))
    if group.kind == "kermany":
        star(
            recall,
            published.TINY["recall_normal"],
            published.TINY["precision_normal"],
            "paper's tiny",
        )
    judged = [cell for cell in cells if not cell.is_baseline] or cells
    good = all(c.spread("best", "test", "auroc").low > 0.9 for c in judged)
    edge = 0.4 if good else 1.0
    roc.set(xlim=(-0.01 * edge, edge), ylim=(1 - edge, 1 + 0.01 * edge))
    recall.set(xlim=(1 - edge, 1 + 0.01 * edge), ylim=(1 - edge, 1 + 0.01 * edge))
    detail = " (detail)" if good else ""
    roc.set(title=f"ROC of PNEUMONIA{detail}", xlabel="1 - specificity", ylabel="sensitivity")
    recall.set(
        title=f"Precision-recall of NORMAL{detail}",
        xlabel="recall of NORMAL",
        ylabel="precision of NORMAL",
    )
    roc.legend(loc="lower right")
    recall.legend(loc="lower left")
    return figure


def confusion_matrices(group: Group) -> Figure:
    """Of each true class, the share that was called each class: the mean over trials, in %."""
    cells = shown(group)
    columns = min(2, len(cells))
    rows = (len(cells) + 1) // 2
    lines = 0.12 if has_long_labels(cells) else 0
    figure, axes = panels(
        rows=rows,
        columns=columns,
        height=0.3 + (1.72 + lines) * rows + (1.1 if columns == 1 else 0),
        top=0.2 + lines,
        gap=0.25 + lines,
        sharex=True,
        sharey=True,
    )
    for ax, cell in zip(axes, cells, strict=False):
        mean, images = mean_confusion(cell)
        ax.imshow(np.nan_to_num(mean), cmap="Blues", vmin=0, vmax=1, aspect="equal")
        for (row, column), value in np.ndenumerate(mean):
            colour = "#ffffff" if value > 0.55 else "#1a1a1a"
            text = (
                "undefined"
                if np.isnan(value)
                else f"{value:.1%}\n{images[row, column]:,.0f} images"
            )
            ax.text(column, row, text, ha="center", va="center", color=colour, fontsize=7)
        ax.set_title(wrapped(cell.label))
        ax.set_xticks([0, 1], [NORMAL, "PNEUM."])
        ax.set_yticks([0, 1], [NORMAL, "PNEUM."], rotation=90, va="center")
        ax.grid(visible=False)
        ax.tick_params(length=0)
    for ax in axes[len(cells) :]:
        ax.set_visible(False)
    figure.supxlabel("called", fontsize=8, y=0.01)
    figure.supylabel("true", fontsize=8, x=0.01)
    return figure


PICTURES = {
    "figure1": f1_by_network,
    "learning-curves": learning_curves,
    "confusion": confusion_matrices,
    "roc-precision-recall": roc_and_precision_recall,
    "accuracy-size": accuracy_by_size,
    "reliability": reliability,
    "decision-curve": decision_curve,
}


def _with_trials(cell: Cell) -> str:
    """The name, and of few trials how many: a box of them would say more than they do."""
    if len(cell.trials) > FEW:
        return clipped(cell.label, 21)
    return f"{clipped(cell.label, 21)}\n{len(cell.trials)} trial{'s' * (len(cell.trials) > 1)}"


def _styles(group: Group) -> dict[str, Any]:
    """Colour, marker and line of each network, the same in every picture."""
    return {cell.label: style for cell, style in zip(shown(group), STYLES, strict=False)}


def _knows_nothing(cell: Cell) -> bool:
    """Whether it is the class share or the like, whose curve is the diagonal."""
    auroc = cell.spread("best", "test", "auroc")
    return cell.is_baseline and auroc.low == auroc.high == 0.5


def _box(ax: Axes, place: float, scores: Sequence[float], *, style: Any, split: str) -> None:
    colour, marker, _ = style
    known = np.array([score for score in scores if np.isfinite(score)])
    if known.size > FEW:
        ax.boxplot(
            known,
            positions=[place],
            widths=0.3,
            whis=(0, 100),
            showfliers=False,
            patch_artist=True,
            manage_ticks=False,
            boxprops={
                "facecolor": colour + "40" if split == "test" else "none",
                "edgecolor": INK,
                "lw": 0.7,
            },
            medianprops={"color": INK, "lw": 1.4},
            whiskerprops={"color": INK, "lw": 0.7},
            capprops={"color": INK, "lw": 0.7},
        )
    jitter = 0.09 * np.linspace(-1, 1, known.size) if known.size > 1 else np.zeros(known.size)
    ax.plot(
        place + jitter,
        known,
        "x" if split == "train" else marker,
        mfc=colour if split == "test" else "none",
        mec=colour,
        ms=3.2,
        mew=0.8,
        ls="none",
        zorder=3,
    )


def _paper_f1(ax: Axes, cells: Sequence[Cell]) -> None:
    ax.axhline(
        published.ALL_F1, color=MUTED, lw=0.8, ls=(0, (4, 2)), label="paper, all: about 0.94"
    )
    for place, cell in enumerate(cells):
        if cell.model == "tiny":
            star(ax, place + 0.45, published.TINY["f1_normal"], "paper's tiny")
            break
