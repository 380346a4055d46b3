"""The report as one self-contained page and as Markdown: no script, pictures inline."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from math import isnan
from typing import Any

from pneumo.evaluation import published
from pneumo.evaluation.detection_assessment import MAP_SENTENCE
from pneumo.evaluation.paired_tests import FEWEST_PAIRS
from pneumo.inference.box_overlay import LEGEND
from pneumo.report import assessments, detection_figures, overview_figure, tables
from pneumo.report.audit_link import AuditLink
from pneumo.report.caveats import caveats
from pneumo.report.claims import claim_table
from pneumo.report.comparisons import Difference
from pneumo.report.curves import MOST_SHOWN
from pneumo.report.detection import NOT_COMPARABLE, DetectionGroup
from pneumo.report.figures import PICTURES
from pneumo.report.groups import Group
from pneumo.report.latex import commits
from pneumo.report.overview import Overview
from pneumo.report.pareto import devices
from pneumo.report.scores import Intervals
from pneumo.report.table import Table, titled
from pneumo.report.templates import markdown_template, page_template
from pneumo.report.trials import Problem, Trial, split_name
from pneumo.report.wording import decimal

NUM_CAVEATS = 5  # that are not folded


@dataclass
class Section:
    """One group of trials, ready to render."""

    group: Group
    tables: dict[str, Table]
    caveats: list[str]
    warnings: list[str]  # on intervals over few patients
    why_not_calibrated: list[str]  # no temperature
    num_not_assessed: int  # runs
    weights: list[str]  # of members of ensembles
    pictures: dict[str, str] = field(default_factory=dict)  # name to SVG for the page

    @property
    def title(self) -> str:
        """Data set and protocol."""
        return f"{self.group.kind}, {self.group.protocol} protocol"

    @property
    def timed_on(self) -> str:
        """The devices that the seconds were measured on."""
        return ", ".join(devices(self.group))


def section(group: Group, differences: Sequence[Difference], intervals: Intervals) -> Section:
    """Returns a group as tables and sentences; pictures are added later."""
    assessed = [a for cell in group.cells for a in assessments.known_assessments(cell)]
    return Section(
        group,
        tables.tables(group, differences, intervals),
        caveats(group),
        sorted({each.warning for each in assessed} - {""}),
        sorted({each.why_not for each in assessed} - {""}),
        sum(trial.metrics.get("assessed") is None for trial in group.trials),
        [text for cell in group.ensembles for t in cell.trials if (text := _weights(t))],
    )


def _weights(trial: Trial) -> str:
    """The weights of a weighted mean; "" for any other trial."""
    weights = [f"{n} {decimal(w, digits=2)}" for n, w in trial.members if not isnan(w)]
    return f"{split_name(trial.split)}: {', '.join(weights)}" if weights else ""


def _caveats(sections: Sequence[Section]) -> list[str]:
    """Returns the caveats of all sections, the first of each before the second of any."""
    several = len(sections) > 1
    named = [[(s.title, text) for text in s.caveats] for s in sections]
    in_turn = [pair for same in zip_longest(*named) for pair in same if pair]
    return [f"{title}: {text}" if several else text for title, text in in_turn]


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
    pictures: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # by overview's slug
    command: str = ""  # that wrote it

    def content(self) -> Mapping[str, Any]:
        """The values of both templates."""
        groups = [section.group for section in self.sections]
        rows = [{"run": p.name, "state": p.state, "reason": p.reason} for p in self.problems]
        num_detectors = sum(len(group.runs) for group in self.detection)
        return {
            "report": self,
            "caveats": _caveats(self.sections),
            "claims": claim_table(groups),
            "left_out": titled(rows, "run", "state", "reason", texts=("state", "reason")),
            "num_runs": sum(len(group.trials) for group in groups) + num_detectors,
            "not_comparable": NOT_COMPARABLE,
            "paper": published,
        }


def html(report: Report) -> str:
    """Returns the page's text; names that come from run folders are escaped."""
    return page_template("report.html.j2").render(
        **report.content(),
        pictures=PICTURES,
        commits=commits,
        overview_pictures=overview_figure.PICTURES,
        num_caveats=NUM_CAVEATS,
        detection_pictures=detection_figures.PICTURES,
        detection_legend=LEGEND,
        detection_map=MAP_SENTENCE,
        examples={g.slug: detection_figures.examples(g.runs[0]) for g in report.detection},
        max_shown=MOST_SHOWN,
        min_pairs=FEWEST_PAIRS,
    )


def markdown(report: Report) -> str:
    """Returns the report's sentences, tables and caveats, without pictures."""
    return markdown_template("summary.md.j2").render(**report.content()).rstrip() + "\n"
