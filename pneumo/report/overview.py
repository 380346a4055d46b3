"""The first screen of a report: each model on random, official and external test images."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pneumo.report.assessed import OF_PROTOCOL, OFFICIAL, RANDOM
from pneumo.report.groups import DEBUG, Group
from pneumo.report.table import Row, Table
from pneumo.report.trials import tuples
from pneumo.report.wording import DASH, count

SHOWN = ("auroc", "accuracy")  # in the picture; the table has the first
OPTIMISTIC = "\N{DAGGER}"
TITLES = {RANDOM: "Random split", OFFICIAL: "Official test"}


@dataclass(frozen=True)
class Overview:
    """The models of one data set."""

    kind: str
    slug: str
    scores: pd.DataFrame  # a row for each model, column and score, see `_scores`
    has_paper: bool  # whether the paper's scores are of these images

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
            num_images = f"{group.trials[0].metrics['data'].get('images') or 0:,}"
            by_images[group.kind, num_images].append(group)
    kinds = [kind for kind, _ in by_images]
    tested = []
    for (kind, images), same in by_images.items():
        title = kind if kinds.count(kind) == 1 else f"{kind}, {images} images"
        slug = same[0].slug.removesuffix(f"-{same[0].protocol}")
        tested.append(Overview(title, slug, _scores(same), same[0].data_set.published))
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
