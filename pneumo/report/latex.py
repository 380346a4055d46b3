"""The report's scores as LaTeX for a thesis: a booktabs table for each group, and its figures."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pneumo.evaluation.scores import SCORES
from pneumo.report.groups import Group
from pneumo.report.templates import text_template
from pneumo.report.wording import DASH, MINUS, PLUS_MINUS

SHOWN = ("accuracy", "f1_normal", "auroc")
SPECIAL = re.compile(r"([&%$#_{}])")
SYMBOLS = {MINUS: "$-$", PLUS_MINUS: r"$\pm$", DASH: "--", "~": r"\textasciitilde{}"}
SYMBOLS |= {"^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}"}


def latex(groups: Sequence[Group], pictures: Mapping[str, Any], command: str) -> str:
    r"""Returns tables and figures to \input into a document with booktabs and graphicx.

    Args:
        groups: a table for each.
        pictures: by the slug of the group and their name, see page.Drawn.
        command: that wrote the report, for the captions.
    """
    text = text_template("summary.tex.j2").render(
        groups=groups,
        pictures=pictures,
        command=command,
        scores=SCORES,
        shown=SHOWN,
        tex=escaped,
    )
    return text.rstrip() + "\n"


def escaped(text: str) -> str:
    r"""Returns text without commands of LaTeX.

    >>> escaped("a_b 5 %")
    'a\\_b 5 \\%'
    """
    text = SPECIAL.sub(r"\\\1", text.replace("\\", "/"))
    return "".join(SYMBOLS.get(character, character) for character in text)
