"""Pictures that compare recipes: by size and speed, by changed images, and by test images."""

from collections import defaultdict
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, NullLocator

from pneumo.evaluation import published
from pneumo.evaluation.scores import SCORES
from pneumo.report.drawing import (
    INK,
    MUTED,
    PAPER,
    STYLES,
    Picture,
    legend_above,
    panels,
    short_label,
    shown,
    star,
)
from pneumo.report.groups import Group
from pneumo.report.overview import SHOWN, Overview
from pneumo.report.scores import paper_figure
from pneumo.report.tables import competing, costs, fronts
from pneumo.report.trials import tuples
from pneumo.runs.metrics import Stress, number

THE_PAPERS = "paper's tiny"
MOST_BY_SIZE = 24  # networks and ensembles
MOST_BY_IMAGES = 20  # models
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
            star(ax, paper_figure("tiny", key), published.TINY["accuracy"], THE_PAPERS)
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
    tested: dict[tuple[str, str], list[Stress]] = defaultdict(list)
    styles = {cell.label: style for cell, style in shown(group)}
    for cell in (cell for cell in group.networks if cell.label in styles):
        for stress in (trial.stress for trial in cell.trials if trial.stress):
            tested[cell.label, stress["split"]].append(stress)
    if not tested:
        return None
    curves = {place: _curves(results) for place, results in tested.items()}
    is_one = len({split for _, split in tested}) == 1
    changes = list(next(iter(curves.values())))
    num_rows = -(-len(changes) // COLUMNS)
    figure, axes = panels(num_rows, COLUMNS, height=1.15, sharex=True, sharey=True)
    for ax, name in zip(axes, changes, strict=False):
        ax.set_title(name, fontsize=7.5, fontweight="normal" if name != MEAN else "bold")
        for (network, split), curve in curves.items():
            (colour, marker, line), label = styles[network], network + f", {split}" * (not is_one)
            ax.plot(curve[name], color=colour, marker=marker, ms=2, ls=line, lw=1, label=label)
    for ax in axes[len(changes) :]:
        ax.set_visible(False)
    axes[0].set_xticks(range(6))
    legend_above(figure, axes[0])
    figure.supxlabel("severity, 0: unchanged", fontsize=8)
    figure.supylabel("AUROC", fontsize=8)
    return figure


def _curves(results: list[Stress]) -> dict[str, np.ndarray]:
    """Returns (6,) AUROC by severity of each change, from 0, and their mean over the changes."""
    clean = np.mean([number(result["clean"]["auroc"]) for result in results])
    curves = {}
    for name in dict.fromkeys(row["corruption"] for row in results[0]["rows"]):
        of_runs = [
            [number(row["auroc"]) for row in result["rows"] if row["corruption"] == name]
            for result in results
        ]
        curves[name] = np.array([clean, *np.mean(of_runs, axis=0)])
    return curves | {MEAN: np.mean(list(curves.values()), axis=0)}


def by_test_images(overview: Overview) -> Figure | None:
    """Scores with their intervals: a row for each model, a mark for each set of test images."""
    scores = overview.scores[~overview.scores["is_chance"]]
    models = [m for m in overview.models if m in set(scores["model"])][:MOST_BY_IMAGES]
    if not models:
        return None
    names = [*map(short_label, models), *([THE_PAPERS] * overview.has_paper)]
    figure, axes = panels(1, len(SHOWN), height=0.55 + 0.19 * len(names), sharey=True)
    for ax, score in zip(axes, SHOWN, strict=True):
        ax.set(title=SCORES[score].heading)
        ax.grid(axis="y", visible=False)
        for place, (column, title) in enumerate(overview.columns.items()):
            colour, marker, _ = STYLES[place]
            ax.plot([], [], marker, color=colour, ls="none", ms=4, label=title)
            shift = 0.22 * (place - (len(overview.columns) - 1) / 2)
            known = scores[(scores["column"] == column) & (scores["score"] == score)]
            for each in tuples(known[known["model"].isin(models)]):
                y = models.index(each.model) + shift
                ax.plot(each.spread.ends, [y, y], color=colour, lw=1.1)
                ax.plot(each.value, y, marker, mfc=colour, mec=PAPER, mew=0.4, ms=4)
        if overview.has_paper and score == "accuracy":
            star(ax, published.TINY["accuracy"], len(models), THE_PAPERS)
        for row in range(1, len(names), 2):
            ax.axhspan(row - 0.5, row + 0.5, color=MUTED, alpha=0.08, lw=0)
    axes[0].set_yticks(range(len(names)), names)
    axes[0].set_ylim(len(names) - 0.5, -0.5)
    legend_above(figure, axes[-1])
    return figure


OF_OVERVIEWS = {
    "overview": Picture(
        by_test_images,
        "Scores by test images",
        "Where official or external images lie left of random ones, random splits flatter the "
        "model. Median over trials and lowest to highest; of a single trial the 95 % interval over "
        "patients. A missing mark was not scored. Star: the paper, on random splits.",
    )
}
