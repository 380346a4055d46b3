"""The pictures of a group: each function returns a Figure, or None if it has nothing to show."""

from collections.abc import Callable, Mapping, Sequence
from textwrap import fill
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pneumo.evaluation import published
from pneumo.evaluation.intervals import patient_weights
from pneumo.evaluation.metrics import Array, precision_recall_curve, ratio, roc_curve
from pneumo.labels import NORMAL
from pneumo.report.drawing import (
    INK,
    MUTED,
    PAPER,
    Picture,
    band,
    legend_above,
    panels,
    short_label,
    shown,
    star,
)
from pneumo.report.groups import Cell, Group
from pneumo.report.recipe_figures import accuracy_by_size, stress_curves
from pneumo.report.trials import number

GRID = np.linspace(0, 1, 201)  # of the curves
BINS = 15  # of the reliability diagram, as in pneumo.evaluation.metrics
RESAMPLES = 200  # of the patients of a single trial, for a band of the central 95 %
FEW = 2  # trials: too few for a box
STATES = {"before": "as predicted", "after": "calibrated"}  # of the probabilities
ALL_F1 = "paper, all: about 0.94"


def f1_by_network(group: Group) -> Figure | None:
    """Figure 1 of the paper: train and test F1 of each class, a box and the points.

    Baselines are drawn only without networks: an F1 of 0 would leave the others no room.
    """
    drawn = [pair for pair in shown(group) if not pair[0].is_baseline] or shown(group)
    figure, axes = panels(2, height=2.8, sharex=True)
    for ax, name in zip(axes, ("normal", "pneumonia"), strict=True):
        for place, (cell, (colour, marker, _)) in enumerate(drawn):
            for split, shift, face in ((cell.train_split, -0.2, "none"), ("test", 0.2, colour)):
                scores = np.array([t.score(f"f1_{name}", split=split) for t in cell.trials])
                _box(ax, place + shift, scores[np.isfinite(scores)], colour, marker, face)
        ax.set(title=f"F1 of {name.upper()}", ylabel="F1 at the best epoch")
        ax.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        ax.grid(axis="x", visible=False)
    if group.is_papers:
        axes[0].axhline(published.ALL_F1, color=MUTED, lw=0.8, ls=(0, (4, 2)), label=ALL_F1)
        for place in (place for place, (cell, _) in enumerate(drawn) if cell.model == "tiny"):
            star(axes[0], place + 0.45, published.TINY["f1_normal"])
    for label, face in (("train", "none"), ("test", INK)):
        axes[0].plot([], [], "o", mec=INK, mfc=face, label=label)
    legend_above(figure, axes[0])
    names = [short_label(cell.label) for cell, _ in drawn]
    axes[1].set_xticks(range(len(drawn)), names, rotation=45, ha="right", rotation_mode="anchor")
    axes[1].set_xlim(-0.6, len(drawn) - 0.4)
    return figure


def learning_curves(group: Group) -> Figure | None:
    """F1 of NORMAL by epoch: median over trials, lowest to highest."""
    drawn = [
        (cell, style)
        for cell, style in shown(group)
        if np.isfinite(_history(cell, "test", "f1_normal")).any()
    ]
    if not drawn:
        return None
    figure, axes = _panel_for_each([cell for cell, _ in drawn])
    floor = 1.0
    for ax, (cell, (colour, marker, _)) in zip(axes, drawn, strict=False):
        for split, shade, line in (("train", MUTED, (0, (2, 1))), ("test", colour, "-")):
            scores = _history(cell, split, "f1_normal")
            middle = band(ax, np.arange(1, scores.shape[1] + 1), scores, shade, line, split)
            floor = np.nanmin([floor, *middle[len(middle) // 5 :]])
        epochs = [number(t.metrics["best"], "epoch") + 1 for t in cell.trials]
        f1 = [t.score("f1_normal") for t in cell.trials]
        ax.plot(epochs, f1, marker, color=colour, mec=PAPER, mew=0.5, ls="none", label="best epoch")
    axes[0].xaxis.set_major_locator(MaxNLocator(4, integer=True))
    legend_above(figure, axes[0])
    axes[0].set_ylim(max(0.0, floor - 0.08), 1.005)
    figure.supxlabel("epoch", fontsize=8)
    figure.supylabel("F1 of NORMAL", fontsize=8)
    return figure


def roc_and_precision_recall(group: Group) -> Figure | None:
    """ROC of PNEUMONIA and precision-recall of NORMAL on the test split, with bands."""
    drawn = [(c, style) for c, style in shown(group) if any(t.label.size for t in c.trials)]
    if not drawn:
        return None
    figure, (roc, recall) = panels(2, height=2.9)
    for cell, (colour, _, line) in drawn:
        auroc, f1 = (cell.spread(score).median for score in ("auroc", "f1_normal"))
        label = f"{cell.label}: AUROC {auroc:.3f}, F1 {f1:.3f}"
        for ax, curve in ((roc, sensitivity), (recall, precision)):
            on_grid = curves_on_grid(cell, curve)
            band(ax, GRID, on_grid, colour, line, label, among=len(drawn))
    if group.is_papers:
        star(recall, published.TINY["recall_normal"], published.TINY["precision_normal"])
    cells = [cell for cell, _ in drawn]
    judged = [cell for cell in cells if not cell.is_baseline] or cells
    good = all(c.spread("auroc").low > 0.9 for c in judged)
    edge, detail = (0.4, " (detail)") if good else (1.0, "")
    high = (1 - edge, 1 + 0.01 * edge)
    roc.set(title=f"ROC of PNEUMONIA{detail}", xlim=(-0.01 * edge, edge), ylim=high)
    roc.set(xlabel="1 - specificity", ylabel="sensitivity")
    recall.set(title=f"Precision-recall of NORMAL{detail}", xlim=high, ylim=high)
    recall.set(xlabel="recall of NORMAL", ylabel="precision of NORMAL")
    legend_above(figure, recall)
    return figure


def confusion_matrices(group: Group) -> Figure:
    """For each true class the share predicted as each class: means over trials, in %."""
    cells = [cell for cell, _ in shown(group)]
    figure, axes = _panel_for_each(cells)
    for ax, cell in zip(axes, cells, strict=False):
        mean, images = mean_confusion(cell)
        ax.imshow(np.nan_to_num(mean), cmap="Blues", vmin=0, vmax=1, aspect="equal")
        for (row, column), value in np.ndenumerate(mean):
            colour = "#ffffff" if value > 0.55 else "#1a1a1a"
            text = f"{value:.1%}\n{images[row, column]:,.0f} images"
            text = "undefined" if np.isnan(value) else text
            ax.text(column, row, text, ha="center", va="center", color=colour, fontsize=7)
        ax.set_xticks([0, 1], [NORMAL, "PNEUM."])
        ax.set_yticks([0, 1], [NORMAL, "PNEUM."], rotation=90, va="center")
        ax.grid(visible=False)
        ax.tick_params(length=0)
    figure.supxlabel("predicted", fontsize=8)
    figure.supylabel("true", fontsize=8)
    return figure


def reliability(group: Group) -> Figure | None:
    """Observed share of PNEUMONIA against probability, before and after the temperature."""
    bins = {
        state: [
            (cell.label, style, rows)
            for cell, style in shown(group)
            if len(rows := pooled([t.assessment for t in cell.trials if t.assessment], state))
        ]
        for state in STATES
    }
    states = [state for state in STATES if bins[state]]
    if not states:
        return None
    figure, axes = panels(1, len(states), height=4.2 - len(states), sharex=True, sharey=True)
    for ax, state in zip(axes, states, strict=True):
        ax.plot([0, 1], [0, 1], color=MUTED, lw=0.8, ls=(0, (4, 2)))
        for label, (colour, marker, line), rows in bins[state]:
            x, y = rows["probability"], rows["observed"]
            size = 3 + 60 * rows["images"] / rows["images"].sum()
            ax.plot(x, y, color=colour, ls=line, lw=1)
            ax.scatter(x, y, s=size, c=colour, marker=marker, ec=PAPER, lw=0.3, zorder=3)
            ax.plot([], [], color=colour, ls=line, marker=marker, label=label)
        ax.set(title=STATES[state], xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
    legend_above(figure, axes[0])
    figure.supxlabel("probability of PNEUMONIA", fontsize=8)
    axes[0].set_ylabel("share of PNEUMONIA")
    return figure


def curves_on_grid(cell: Cell, curve: Callable[[Array, Array], Array]) -> Array:
    """Returns (K, 201): a curve for each trial, such as `sensitivity` or `precision`.

    For a single trial, its own curve between the ends of a 95 % bootstrap band.
    """
    trials = [trial for trial in cell.trials if trial.label.size]
    curves = np.array([curve(trial.label, trial.probability) for trial in trials])
    if len(trials) != 1:
        return curves
    label, probability = trials[0].label, trials[0].probability
    weight = patient_weights(trials[0].test["patient"], resamples=RESAMPLES)
    draws = [np.repeat(np.arange(label.size), times) for times in weight.T.astype(np.int64)]
    resampled = [curve(label[index], probability[index]) for index in draws]
    low, high = np.quantile(resampled, (0.025, 0.975), axis=0)
    return np.array([np.minimum(curves[0], low), curves[0], np.maximum(curves[0], high)])


def sensitivity(label: Array, probability: Array) -> Array:
    """Returns (201,): sensitivity for PNEUMONIA at each 1 - specificity of `GRID`."""
    return _steps(*roc_curve(label, probability), GRID)


def precision(label: Array, probability: Array) -> Array:
    """Returns (201,): the best precision of NORMAL at each recall of `GRID` or above."""
    recall, precision = precision_recall_curve(1 - label, 1 - probability)
    return _steps(-recall[::-1], np.maximum.accumulate(precision[::-1]), 1e-12 - GRID)


def _steps(x: Array, y: Array, at: Array) -> Array:
    """Returns y at the last x up to each point; NaN if the curve is undefined."""
    if not x.size or np.isnan([x, y]).any():
        return np.full(at.shape, np.nan)
    return np.asarray(y[np.searchsorted(x, at, "right") - 1])


def _history(cell: Cell, split: str, score: str) -> Array:
    """Returns (trials, epochs) of a score by epoch, NaN if a trial is shorter or has none."""
    return pd.DataFrame([t.history(split, score).tolist() for t in cell.trials]).to_numpy(float)


def mean_confusion(cell: Cell) -> tuple[Array, Array]:
    """Returns the share of each true class by predicted class, and images: (2, 2) means each."""
    matrices = [trial.metrics["best"]["test"].get("confusion") for trial in cell.trials]
    counts = np.array([np.full((2, 2), np.nan) if c is None else c for c in matrices], dtype=float)
    both = (ratio(counts, counts.sum(-1, keepdims=True)), counts)
    shares, images = (pd.DataFrame(each.reshape(-1, 4)).mean().to_numpy() for each in both)
    return shares.reshape(2, 2), images.reshape(2, 2)


def pooled(assessments: Sequence[Mapping[str, Any]], state: str) -> pd.DataFrame:
    """Returns the bins of probability of several trials as one, in one of `STATES`.

    Columns images (which are added up), probability and observed.
    """
    of_state = [of["calibration"][state] for of in assessments]
    bins = [row for calibration in of_state if calibration for row in calibration["reliability"]]
    rows = pd.DataFrame(bins, columns=["images", "probability", "observed"], dtype=float)
    places = np.minimum((rows["probability"] * BINS).astype(int), BINS - 1)
    sums = rows.mul(rows["images"], axis=0).assign(images=rows["images"]).groupby(places).sum()
    return sums.div(sums["images"], axis=0).assign(images=sums["images"])


def _panel_for_each(cells: Sequence[Cell]) -> tuple[Figure, list[Axes]]:
    """Returns a figure with a titled panel for each network, two in a row."""
    columns, rows = min(2, len(cells)), (len(cells) + 1) // 2
    height = 2.8 if columns == 1 else 1.9  # inches
    figure, axes = panels(rows, columns, height=height, sharex=True, sharey=True)
    for ax, cell in zip(axes, cells, strict=False):
        ax.set_title(fill(cell.label, 18, break_on_hyphens=False))
    for ax in axes[len(cells) :]:
        ax.set_visible(False)
    return figure, axes


def _box(ax: Axes, x: float, scores: Array, colour: str, marker: str, face: str) -> None:
    """Draws scores as points, and a box around more than two."""
    if scores.size > FEW:
        thin = {"color": INK, "lw": 0.7}
        box = {"fc": "none" if face == "none" else f"{colour}40", "ec": INK, "lw": 0.7}
        look: dict[str, Any] = {"boxprops": box, "whiskerprops": thin, "capprops": thin}
        look |= {"medianprops": {"color": INK, "lw": 1.4}, "manage_ticks": False, "widths": 0.3}
        look |= {"showfliers": False, "patch_artist": True, "whis": (0, 100)}
        ax.boxplot(scores, positions=[x], **look)
    spread = x + 0.09 * np.linspace(-1, 1, scores.size) * (scores.size > 1)
    ax.plot(spread, scores, marker, mfc=face, mec=colour, ms=3.2, mew=0.8, ls="none", zorder=3)


PICTURES = {
    "figure1": Picture(
        f1_by_network,
        "F1 by network (figure 1 of the paper)",
        "A gap from open (train) to filled (test) is overfitting. A point is a trial at its chosen "
        "epoch; box: quartiles and median, whiskers: lowest and highest. Train F1 is that of the "
        "training steps, which is lower, if it was not scored in evaluation mode.",
    ),
    "learning-curves": Picture(
        learning_curves,
        "Learning curves",
        "A test curve that falls while train rises is overfitting; jumps mean that the best epoch "
        "is luck. F1 of NORMAL: median over trials, lowest to highest.",
    ),
    "confusion": Picture(
        confusion_matrices,
        "Confusion matrices",
        "The upper right cell is healthy images that are flagged, the lower left pneumonia that is "
        "missed. Share of each true class at a probability of 0.5; means over trials.",
    ),
    "roc-precision-recall": Picture(
        roc_and_precision_recall,
        "ROC and precision-recall",
        "Networks whose curves cross are not ordered by one score. Median over trials; with up to "
        "three networks, bands from lowest to highest, of a single trial the central 95 % of 200 "
        "resamples of its patients.",
    ),
    "accuracy-size": Picture(
        accuracy_by_size,
        "Accuracy, size and speed",
        "Points below the line are matched by a cheaper network. Median accuracy on the test split "
        "and range over trials; ensembles are hollow; speed only if all were timed on one device.",
    ),
    "reliability": Picture(
        reliability,
        "Reliability",
        "Below the diagonal, probabilities of PNEUMONIA are too high. Test images in 15 bins, "
        "larger marks are more images; trials are pooled. Right: after the temperature fitted on "
        "validation.",
    ),
    "stress": Picture(
        stress_curves,
        "Stress test",
        "A line that falls is a network that depends on what was changed. AUROC by severity, means "
        "over runs; last panel: mean over all changes.",
    ),
}
