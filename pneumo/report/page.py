"""The report as one self-contained page and as Markdown: no script, pictures inline."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from pneumo.evaluation import published
from pneumo.evaluation.detection_assessment import MAP_SENTENCE
from pneumo.evaluation.paired_tests import FEWEST_PAIRS
from pneumo.inference.box_overlay import LEGEND
from pneumo.report import detection_figures
from pneumo.report.audit_link import AuditLink
from pneumo.report.claims import claim_table
from pneumo.report.curves import MOST_SHOWN
from pneumo.report.detection import NOT_COMPARABLE, DetectionSection
from pneumo.report.figures import PICTURES
from pneumo.report.overview import overviews
from pneumo.report.sections import MAX_RUNS, Section
from pneumo.report.table import Table, titled
from pneumo.report.templates import markdown_template, page_template
from pneumo.report.trials import Problem


@dataclass
class Report:
    """What the page and summary.md render."""

    sentences: Sequence[str]
    sections: Sequence[Section] = ()
    problems: Sequence[Problem] = ()
    detection: Sequence[DetectionSection] = ()
    audit: AuditLink | None = None
    files: Sequence[str] = field(default=())

    @property
    def overviews(self) -> dict[str, Table]:
        """By data set, the networks' scores under every protocol."""
        return overviews([section.group for section in self.sections])

    @property
    def claims(self) -> Table:
        """The paper's comparison table beside our runs."""
        return claim_table([section.group for section in self.sections])

    @property
    def left_out(self) -> Table:
        """The runs that are in no number, and why."""
        rows = [{"run": p.name, "state": p.state, "reason": p.reason} for p in self.problems]
        return titled(rows, "run", "state", "reason", texts=("state", "reason"))

    @property
    def num_runs(self) -> int:
        """Finished runs in the report."""
        of_classifiers = sum(section.num_runs for section in self.sections)
        return of_classifiers + sum(section.num_runs for section in self.detection)


def html(report: Report) -> str:
    """The page's text; names that come from run folders are escaped."""
    return page_template("report.html.j2").render(
        report=report,
        pictures=PICTURES,
        detection_pictures=detection_figures.PICTURES,
        detection_legend=LEGEND,
        detection_map=MAP_SENTENCE,
        not_comparable=NOT_COMPARABLE,
        max_runs=MAX_RUNS,
        max_shown=MOST_SHOWN,
        min_pairs=FEWEST_PAIRS,
        paper=published,
    )


def markdown(report: Report) -> str:
    """The report's sentences, tables and caveats, without pictures."""
    text = markdown_template("summary.md.j2").render(report=report, not_comparable=NOT_COMPARABLE)
    return text.rstrip() + "\n"
