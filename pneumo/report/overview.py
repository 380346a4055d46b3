"""The first screen of a report: each model on random, official and external test images."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pneumo.report.external import OF_PROTOCOL, OFFICIAL, RANDOM
from pneumo.report.groups import DEBUG, Group
from pneumo.report.table import Table
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
        known = list(dict.fromkeys(self.scores["column"]))
        order = sorted(known, key=lambda name: (*TITLES, name).index(name))
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
        rows = []
        auroc = self.scores[self.scores["score"] == "auroc"]
        for model in self.models:
            of_model = auroc[auroc["model"] == model]
            first = of_model.iloc[0]
            row: dict[str, Any] = dict.fromkeys(self.columns, "")
            row["kind"] = "baseline" if first["is_baseline"] else "ours"
            row |= {"model": model, "parameters": count(first["parameters"]).replace(DASH, "")}
            for each in tuples(of_model):
                text, ends = each.spread.cell
                trials = f"{each.trials}\N{NO-BREAK SPACE}trials" * (each.trials > 1)
                below = ", ".join(line for line in (ends, trials) if line)
                row[each.column] = text + OPTIMISTIC * each.is_optimistic, below
            rows.append(row)
        return Table({"model": "Model", "parameters": "Parameters"} | self.columns, rows)


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
    for group in groups:
        for cell in group.rows:
            column = OF_PROTOCOL.get(group.protocol, RANDOM)
            is_optimistic = cell.chosen_on == "test" and not cell.is_baseline
            about = {"model": cell.label, "is_baseline": cell.is_baseline}
            about |= {"is_chance": cell.model == "prior"}
            about |= {"parameters": cell.size("parameters").median}
            for (when, split, score), spread in cell.spreads.items():
                name = column if split == "test" else split.removeprefix("external_")
                if when == "best" and score in SHOWN and name != split:
                    what: dict[str, Any] = {"column": name, "score": score, "spread": spread}
                    what |= {"trials": spread.trials, "value": spread.median}
                    what |= {"is_optimistic": is_optimistic and split == "test"}
                    rows.append(about | what)
    table = pd.DataFrame(rows).sort_values("trials", ascending=False, kind="stable")
    return table.drop_duplicates(["model", "column", "score"]).sort_index()
