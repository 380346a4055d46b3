"""The values of the report's templates: its page without script, summary.md and summary.tex."""

import os
import re
from collections.abc import Collection, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd

from pneumo import untrusted
from pneumo.evaluation import published
from pneumo.evaluation.detection import MAP_SENTENCE
from pneumo.evaluation.scores import SCORES
from pneumo.report.detection import NOT_COMPARABLE, DetectionGroup
from pneumo.report.drawing import MOST_SHOWN, inline_svg
from pneumo.report.findings import caveats, commits, findings
from pneumo.report.groups import Group
from pneumo.report.table import titled
from pneumo.report.tables import claim_table, tables
from pneumo.report.trials import Problem
from pneumo.report.wording import DASH, MINUS, PLUS_MINUS

AUDIT = "audit.html"
IN_LATEX = ("accuracy", "f1_normal", "auroc")
SPECIAL = re.compile(r"([&%$#_{}])")
SYMBOLS = {MINUS: "$-$", PLUS_MINUS: r"$\pm$", DASH: "--", "~": r"\textasciitilde{}"}
SYMBOLS |= {"^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}"}
NUM_CAVEATS = 5  # that are not folded


def audit_link(folder: Path, *, report: Path, kinds: Collection[str]) -> dict[str, str]:
    """Returns name, finding and href of the audit in a folder, seen from the folder ``report``.

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
    return {"name": name, "finding": finding, "href": quote(way)}


def content(
    groups: Sequence[Group],
    *,
    detectors: Sequence[DetectionGroup] = (),
    problems: Sequence[Problem] = (),
    differences: pd.DataFrame,
    **more: Any,
) -> Mapping[str, Any]:
    """Returns the values of all templates; ``more``: see report_folder."""
    sentences = [group.finding for group in detectors]
    if groups or not detectors:
        sentences = [*findings(groups, problems=problems, differences=differences), *sentences]
    # the first caveat of each group before the second of any
    title = "{}: {}" if len(groups) > 1 else "{1}"
    named = [[title.format(group.title, text) for text in caveats(group)] for group in groups]
    rows = [{"run": p.name, "state": p.state, "reason": p.reason} for p in problems]
    return {
        **more,
        "groups": groups,
        "detectors": detectors,
        "sentences": sentences,
        "tables_of": {
            g.slug: tables(g, differences[differences["group"] == g.slug]) for g in groups
        },
        "caveats": [text for same in zip_longest(*named) for text in same if text],
        "num_caveats": NUM_CAVEATS,
        "claims": claim_table(groups),
        "left_out": titled(rows, "run", "state", "reason", texts=("state", "reason")),
        "num_runs": sum(len(g.trials) for g in groups) + sum(len(g.runs) for g in detectors),
        "not_comparable": NOT_COMPARABLE,
        "detection_map": MAP_SENTENCE,
        "max_shown": MOST_SHOWN,
        "paper": published,
        "scores": SCORES,
        "in_latex": IN_LATEX,
        "commits": commits,
        "inline_svg": inline_svg,
        "tex": escaped_tex,
    }


def escaped_tex(text: str) -> str:
    r"""Returns text without commands of LaTeX.

    >>> escaped_tex("a_b 5 %")
    'a\\_b 5 \\%'
    """
    text = SPECIAL.sub(r"\\\1", text.replace("\\", "/"))
    return "".join(SYMBOLS.get(character, character) for character in text)
