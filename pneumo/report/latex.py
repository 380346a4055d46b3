"""The report's scores as LaTeX for a thesis: a booktabs table for each group, and its figures."""

import re
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pneumo.evaluation.scores import SCORES
from pneumo.report.groups import Group
from pneumo.report.templates import text_template
from pneumo.report.trials import Trial
from pneumo.report.wording import DASH, MINUS, PLUS_MINUS
from pneumo.runs.run import Run

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
        commits=commits,
        scores=SCORES,
        shown=SHOWN,
        tex=escaped,
    )
    return text.rstrip() + "\n"


def command_of(roots: Sequence[Path], **options: Path | None) -> str:
    """Returns the command that writes the report of these folders with these options."""
    words = [word for name, path in options.items() if path for word in (f"--{name}", str(path))]
    return shlex.join(["python", "-m", "pneumo.report", *map(str, roots), *words])


def commits(runs: Iterable[Trial | Run]) -> str:
    """Returns the git commits of runs, each with the number of its runs: abc1234 (9)."""
    counts = Counter(str(run.metrics.get("git_commit") or "unknown")[:9] for run in runs)
    shown = ", ".join(f"{commit} ({count})" for commit, count in counts.most_common())
    return "commits " * (len(counts) > 1) + shown


def escaped(text: str) -> str:
    r"""Returns text without commands of LaTeX.

    >>> escaped("a_b 5 %")
    'a\\_b 5 \\%'
    """
    text = SPECIAL.sub(r"\\\1", text.replace("\\", "/"))
    return "".join(SYMBOLS.get(character, character) for character in text)
