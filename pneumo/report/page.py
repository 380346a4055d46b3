"""The report as one self-contained page without script, as Markdown, and as LaTeX."""

import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import pandas as pd

from pneumo import untrusted
from pneumo.evaluation import published
from pneumo.evaluation.detection import MAP_SENTENCE
from pneumo.evaluation.scores import SCORES
from pneumo.report.curves import MOST_SHOWN
from pneumo.report.detection import NOT_COMPARABLE, DetectionGroup
from pneumo.report.drawing import Picture, inline_svg
from pneumo.report.findings import caveats, commits
from pneumo.report.groups import Group
from pneumo.report.overview import Overview
from pneumo.report.table import Table, titled
from pneumo.report.tables import claim_table, tables
from pneumo.report.templates import render_markdown, render_page, render_text
from pneumo.report.trials import Problem
from pneumo.report.wording import DASH, MINUS, PLUS_MINUS

AUDIT = "audit.html"
IN_LATEX = ("accuracy", "f1_normal", "auroc")
SPECIAL = re.compile(r"([&%$#_{}])")
SYMBOLS = {MINUS: "$-$", PLUS_MINUS: r"$\pm$", DASH: "--", "~": r"\textasciitilde{}"}
SYMBOLS |= {"^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}"}
NUM_CAVEATS = 5  # that are not folded
Drawn = Mapping[str, tuple[Picture, Mapping[str, bytes]]]  # a picture and its files, by name


class AuditLink(NamedTuple):
    """A link from the report to an audit."""

    name: str  # of the data set
    finding: str  # its first sentence
    href: str  # of its page, from the report's folder


def audit_link(folder: Path, *, report: Path, kinds: Collection[str]) -> AuditLink:
    """Returns the link from the folder ``report`` to the audit in a folder.

    Raises:
        ValueError: the folder holds no audit, a broken one, or one of a data set not in ``kinds``.
    """
    try:
        audit = untrusted.read_json(folder / "audit.json")
        data, finding = audit["data"], str(audit["findings"][0])
        name, kind = str(data["name"]), data["kind"]
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        raise ValueError(
            f"--audit must be a folder that python -m pneumo.audit DIR wrote, with {AUDIT} and a "
            f"valid audit.json; got {folder}"
        ) from None
    if kind not in kinds:
        raise ValueError(
            f"--audit must be of the runs' data set ({', '.join(sorted(kinds))}); {folder} is of "
            f"{kind}. Audit theirs with python -m pneumo.audit DIR"
        )
    way = Path(os.path.relpath(folder.resolve() / AUDIT, report.resolve())).as_posix()
    return AuditLink(name, finding, quote(way))


class Section(NamedTuple):
    """One group of trials, ready to render."""

    group: Group
    tables: dict[str, Table]
    caveats: list[str]
    warnings: list[str]  # of intervals of few patients, and that there is no temperature


def section(group: Group, differences: pd.DataFrame) -> Section:
    """Returns a group as tables and sentences."""
    shown = tables(group, differences[differences["group"] == group.slug])
    known = [trial.metrics.get("assessed") or {} for trial in group.trials]
    warnings = sorted({text for assessed in known for text in assessed.get("warnings", ())})
    return Section(group, shown, caveats(group), warnings)


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
        # the first caveat of each section before the second of any
        named = [[(s.group.title, text) for text in s.caveats] for s in self.sections]
        in_turn = [pair for same in zip_longest(*named) for pair in same if pair]
        several = len(groups) > 1
        return {
            "report": self,
            "caveats": [f"{title}: {text}" if several else text for title, text in in_turn],
            "claims": claim_table(groups),
            "left_out": titled(rows, "run", "state", "reason", texts=("state", "reason")),
            "num_runs": sum(len(g.trials) for g in groups)
            + sum(len(g.runs) for g in self.detection),
            "not_comparable": NOT_COMPARABLE,
        }


def html(report: Report) -> str:
    """Returns the page's text; names that come from run folders are escaped."""
    return render_page(
        "report.html.j2",
        **report.content(),
        inline_svg=inline_svg,
        commits=commits,
        num_caveats=NUM_CAVEATS,
        detection_map=MAP_SENTENCE,
        max_shown=MOST_SHOWN,
        paper=published,
    )


def markdown(report: Report) -> str:
    """Returns the report's sentences, tables and caveats, without pictures."""
    return render_markdown("summary.md.j2", **report.content())


def latex(groups: Sequence[Group], pictures: Mapping[str, Any], command: str) -> str:
    r"""Returns tables and figures to \input into a document with booktabs and graphicx.

    ``pictures``: by the slug of the group; ``command``: that wrote the report, for the captions.
    """
    lines = render_text(
        "summary.tex.j2",
        groups=groups,
        pictures=pictures,
        command=command,
        commits=commits,
        scores=SCORES,
        shown=IN_LATEX,
        tex=escaped_tex,
    )
    return "\n".join(lines) + "\n"


def escaped_tex(text: str) -> str:
    r"""Returns text without commands of LaTeX.

    >>> escaped_tex("a_b 5 %")
    'a\\_b 5 \\%'
    """
    text = SPECIAL.sub(r"\\\1", text.replace("\\", "/"))
    return "".join(SYMBOLS.get(character, character) for character in text)
