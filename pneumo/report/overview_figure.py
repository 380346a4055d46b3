"""The picture of the first screen: each model on random, official and external test images."""

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
    short_label,
    star,
)
from pneumo.report.overview import SHOWN, Overview
from pneumo.report.trials import tuples

MOST = 20  # models
THE_PAPERS = "paper's tiny"


def by_test_images(overview: Overview) -> Figure | None:
    """Scores with their intervals: a row for each model, a mark for each set of test images."""
    scores = overview.scores[~overview.scores["is_chance"]]
    models = [model for model in overview.models if model in set(scores["model"])][:MOST]
    if not models:
        return None
    names = [*map(short_label, models), *([THE_PAPERS] * overview.has_paper)]
    height = 0.55 + 0.19 * len(names)
    figure, axes = panels(1, len(SHOWN), height=height, sharey=True)
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


PICTURES = {
    "overview": Picture(
        by_test_images,
        "Scores by test images",
        "Where official or external images lie left of random ones, random splits flatter the "
        "model. Median over trials and lowest to highest; of a single trial the 95 % interval over "
        "patients. A missing mark was not scored. Star: the paper, on random splits.",
    )
}
