"""The picture of the first screen: each model on random, official and external test images."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pneumo.evaluation import published
from pneumo.evaluation.scores import SCORES
from pneumo.report.drawing import (
    MUTED,
    PAPER,
    STYLES,
    Picture,
    legend_above,
    panels,
    short_labels,
    star,
)
from pneumo.report.overview import SHOWN, TITLES, Overview

MOST = 20  # models
THE_PAPERS = "paper's tiny"


def by_test_images(overview: Overview) -> Figure | None:
    """Scores with their intervals: a row for each model, a mark for each set of test images."""
    models = [model for model in overview.models if not model.is_chance][:MOST]
    if not models:
        return None
    names = list(short_labels([model.label for model in models], most=31).values())
    num_rows = len(models) + overview.has_paper
    titles = [TITLES.get(column, column) for column in overview.columns]
    labels = [*titles, THE_PAPERS]
    height = 0.55 + 0.19 * num_rows
    figure, axes = panels(1, len(SHOWN), height=height, labels=labels, sharey=True)
    for ax, score in zip(axes, SHOWN, strict=True):
        for place, column in enumerate(overview.columns):
            _marks(ax, overview, score, column, titles[place], place=place)
        if overview.has_paper and score == "accuracy":
            star(ax, published.TINY["accuracy"], len(models), THE_PAPERS)
        ax.set(title=SCORES[score].heading)
        ax.grid(axis="y", visible=False)
    ticks = [*names, *([THE_PAPERS] if overview.has_paper else [])]
    axes[0].set_yticks(range(num_rows), ticks)
    axes[0].set_ylim(num_rows - 0.5, -0.5)
    for place in range(1, num_rows, 2):
        for ax in axes:
            ax.axhspan(place - 0.5, place + 0.5, color=MUTED, alpha=0.08, lw=0)
    legend_above(figure, axes[-1])
    return figure


def _marks(
    ax: Axes, overview: Overview, score: str, column: str, label: str, *, place: int
) -> None:
    """The marks of one set of test images, beside those of the others."""
    colour, marker, _ = STYLES[place]
    shift = 0.22 * (place - (len(overview.columns) - 1) / 2)
    models = [model for model in overview.models if not model.is_chance][:MOST]
    known = [(i, m.scores[column][score]) for i, m in enumerate(models) if column in m.scores]
    ax.plot([], [], marker, color=colour, ls="none", ms=4, label=label)
    for row, scored in known:
        ax.plot([scored.low, scored.high], [row + shift] * 2, color=colour, lw=1.1)
        ax.plot(scored.value, row + shift, marker, mfc=colour, mec=PAPER, mew=0.4, ms=4)


PICTURES = {
    "overview": Picture(
        by_test_images,
        "Scores by test images",
        "Where official or external images lie left of random ones, random splits flatter the "
        "model. Median over trials and lowest to highest; of a single trial the 95 % interval over "
        "patients. A missing mark was not scored. Star: the paper, on random splits.",
    )
}
