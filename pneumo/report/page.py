"""The report as one self-contained page and as Markdown: no script, pictures inline."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from math import isnan
from typing import Any

import pandas as pd

from pneumo.evaluation import published
from pneumo.evaluation.detection import MAP_SENTENCE
from pneumo.evaluation.paired_tests import FEWEST_PAIRS
from pneumo.report.audit_link import AuditLink
from pneumo.report.claims import claim_table
from pneumo.report.curves import MOST_SHOWN
from pneumo.report.detection import NOT_COMPARABLE, DetectionGroup
from pneumo.report.drawing import Picture, inline_svg
from pneumo.report.findings import caveats
from pneumo.report.groups import Group
from pneumo.report.latex import commits
from pneumo.report.overview import Overview
from pneumo.report.table import Table, titled
from pneumo.report.tables import tables
from pneumo.report.templates import markdown_template, page_template
from pneumo.report.trials import Problem, split_name
from pneumo.report.wording import decimal

NUM_CAVEATS = 5  # that are not folded
FOLDED = {  # tables below the pictures of a section: title
    "point": "Operating point",
    "calibration": "Calibration",
    "subgroups": "Subgroups",
    "margins": "Margins over the best baseline",
    "differences": "Differences from the network with most trials",
    "optimism": "Choice of the epoch",
    "sizes": "Size, time and overfitting",
    "recipes": "Settings that differ",
    "maps": "What the heat maps are worth",
    "stress": "Stress test",
}
Drawn = Mapping[str, tuple[Picture, Mapping[str, bytes]]]  # a picture and its files, by name


@dataclass
class Section:
    """One group of trials, ready to render."""

    group: Group
    tables: dict[str, Table]
    caveats: list[str]

    @property
    def warnings(self) -> list[str]:
        """Why intervals are of few patients, and why there is no temperature."""
        known = [trial.metrics.get("assessed") or {} for trial in self.group.trials]
        return sorted({text for assessed in known for text in assessed.get("warnings", ())})

    @property
    def weights(self) -> list[str]:
        """The weights of each weighted mean."""
        trials = [trial for cell in self.group.ensembles for trial in cell.trials]
        return [
            f"{split_name(trial.split)}: "
            + ", ".join(f"{name} {decimal(weight, digits=2)}" for name, weight in trial.members)
            for trial in trials
            if not isnan(trial.members[0][1])
        ]


def section(group: Group, differences: pd.DataFrame) -> Section:
    """Returns a group as tables and sentences."""
    shown = tables(group, differences[differences["group"] == group.slug])
    return Section(group, shown, caveats(group, num_differing=len(shown["recipes"].rows)))


@dataclass
class Report:
    """What the page and summary.md render."""

    sentences: Sequence[str]
    sections: Sequence[Section] = ()
    problems: Sequence[Problem] = ()
    detection: Sequence[DetectionGroup] = ()
    audit: AuditLink | None = None
    files: Sequence[str] = ()
    overviews: Sequence[Overview] = ()
    pictures: Mapping[str, Drawn] = field(default_factory=dict)  # by slug
    command: str = ""  # that wrote it

    def content(self) -> Mapping[str, Any]:
        """The values of both templates."""
        groups = [section.group for section in self.sections]
        rows = [{"run": p.name, "state": p.state, "reason": p.reason} for p in self.problems]
        num_detectors = sum(len(group.runs) for group in self.detection)
        return {
            "report": self,
            "caveats": self._caveats(),
            "claims": claim_table(groups),
            "left_out": titled(rows, "run", "state", "reason", texts=("state", "reason")),
            "num_runs": sum(len(group.trials) for group in groups) + num_detectors,
            "not_comparable": NOT_COMPARABLE,
        }

    def _caveats(self) -> list[str]:
        """The caveats of all sections, the first of each before the second of any."""
        several = len(self.sections) > 1
        named = [[(s.group.title, text) for text in s.caveats] for s in self.sections]
        in_turn = [pair for same in zip_longest(*named) for pair in same if pair]
        return [f"{title}: {text}" if several else text for title, text in in_turn]


def html(report: Report) -> str:
    """Returns the page's text; names that come from run folders are escaped."""
    return page_template("report.html.j2").render(
        **report.content(),
        folded=FOLDED,
        inline_svg=inline_svg,
        commits=commits,
        num_caveats=NUM_CAVEATS,
        detection_map=MAP_SENTENCE,
        max_shown=MOST_SHOWN,
        min_pairs=FEWEST_PAIRS,
        paper=published,
    )


def markdown(report: Report) -> str:
    """Returns the report's sentences, tables and caveats, without pictures."""
    return markdown_template("summary.md.j2").render(**report.content()).rstrip() + "\n"
