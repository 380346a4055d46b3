"""The first screen of a report: each model on random, official and external test images."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from pneumo.evaluation import published
from pneumo.evaluation.scores import SCORES
from pneumo.report.assessed import OF_PROTOCOL, OFFICIAL, RANDOM
from pneumo.report.drawing import (
    MUTED,
    PAPER,
    PAPERS_TINY,
    STYLES,
    Picture,
    legend_above,
    panels,
    short_label,
    star,
)
from pneumo.report.groups import DEBUG, Group
from pneumo.report.table import Row, Table
from pneumo.report.trials import tuples
from pneumo.report.wording import DASH, count

SHOWN = ("auroc", "accuracy")  # in the picture; the table has the first
MOST_DRAWN = 20  # models, with all baselines
OPTIMISTIC = "\N{DAGGER}"
TITLES = {RANDOM: "Random split", OFFICIAL: "Official test"}


@dataclass(frozen=True)
class Overview:
    """The models of one data set."""

    kind: str
    slug: str
    scores: pd.DataFrame  # a row for each model, column and score, see `_scores`
    groups: Sequence[Group]

    @property
    def columns(self) -> dict[str, str]:
        """Random, official, and names of external images, with their titles."""
        names = self.scores["column"].unique()
        order = sorted(names, key=lambda name: (*TITLES, name).index(name))
        return {name: TITLES.get(name, f"External: {name}") for name in order}

    @property
    def models(self) -> list[str]:
        """The labels: baselines last, the best on official and then on random images first."""
        auroc = self.scores[self.scores["score"] == "auroc"]
        wide = auroc.pivot_table("value", "model", "column", sort=False)
        wide = wide.reindex(columns=[OFFICIAL, RANDOM], index=self.scores["model"].unique())
        wide["baseline"] = self.scores.groupby("model")["is_baseline"].first()
        order = wide.sort_values(["baseline", OFFICIAL, RANDOM], ascending=[True, False, False])
        return [str(model) for model in order.index]

    @property
    def table(self) -> Table:
        """The AUROC: a row for each model, a column for each set of test images."""
        auroc = self.scores[self.scores["score"] == "auroc"]
        rows: dict[str, Any] = {name: dict.fromkeys(self.columns, "") for name in self.models}
        for each in tuples(auroc):
            kind = "baseline" if each.is_baseline else "ours"
            parameters = count(each.parameters).replace(DASH, "")
            rows[each.model] |= {"kind": kind, "model": each.model, "parameters": parameters}
            text, ends = each.spread.cell
            trials = f"{each.trials}\N{NO-BREAK SPACE}trials" * (each.trials > 1)
            below = ", ".join(filter(None, (ends, trials)))
            rows[each.model][each.column] = text + OPTIMISTIC * each.is_optimistic, below
        shown: list[Row] = list(rows.values())
        return Table({"model": "Model", "parameters": "Parameters"} | self.columns, shown)


def overviews(groups: Sequence[Group]) -> list[Overview]:
    """Returns an overview of each data set, without debug runs."""
    by_images: dict[tuple[str, str], list[Group]] = defaultdict(list)
    for group in groups:
        if group.protocol != DEBUG:
            by_images[group.kind, group.index].append(group)
    kinds = [kind for kind, _ in by_images]
    tested = []
    for (kind, _), same in by_images.items():
        images = f"{same[0].trials[0].metrics['data'].get('images') or 0:,}"
        data = same[0].data
        title = data if kinds.count(kind) == 1 else f"{data}, {images} images"
        slug = data.replace(" ", "-")
        tested.append(Overview(title, slug, _scores(same), same))
    return tested


def _scores(groups: Sequence[Group]) -> pd.DataFrame:
    """Each score of each model on each set of test images.

    A model with several random splits, as of paper and holdout, is shown with the one of most
    trials, the honest one of equals.
    """
    rows = []
    for group, cell in ((g, cell) for g in groups for cell in g.rows):
        about: dict[str, Any] = {"model": cell.label, "is_baseline": cell.is_baseline}
        about |= {"is_chance": cell.model == "prior", "parameters": cell.size("parameters").median}
        for (when, split, score), spread in cell.spreads.items():
            own = split == "test"
            if when == "best" and score in SHOWN and (own or split.startswith("external_")):
                column = OF_PROTOCOL.get(group.protocol, RANDOM) if own else split[9:]
                chosen_here = own and cell.chosen_on == "test" and not cell.is_baseline
                row: dict[str, Any] = {"column": column, "score": score, "spread": spread}
                row |= {"trials": spread.trials, "value": spread.median}
                rows.append(about | row | {"is_optimistic": chosen_here})
    table = pd.DataFrame(rows).sort_values("trials", ascending=False, kind="stable")
    return table.drop_duplicates(["model", "column", "score"]).sort_index()


def by_test_images(overview: Overview) -> Figure | None:
    """Scores with their intervals: a row for each model, a mark for each set of test images."""
    scores = overview.scores[~overview.scores["is_chance"]]
    models = [m for m in overview.models if m in set(scores["model"])]
    if not models:
        return None
    num_baselines = scores.loc[scores["is_baseline"], "model"].nunique()  # the last ones
    del models[MOST_DRAWN - num_baselines : len(models) - num_baselines]
    has_paper = overview.groups[0].data_set.published  # scores of these images
    names = [*map(short_label, models), *([PAPERS_TINY] * has_paper)]
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
        if has_paper and score == "accuracy":
            star(ax, published.TINY["accuracy"], len(models))
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
