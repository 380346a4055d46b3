"""The report's scores as LaTeX for a thesis: a booktabs table for each group, and its figures."""

import re
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence

from pneumo.evaluation.scores import SCORES
from pneumo.report.drawing import Picture
from pneumo.report.groups import Cell, Group
from pneumo.report.wording import DASH, MINUS, PLUS_MINUS, decimal, interval, mean_and_sd

SHOWN = ("accuracy", "f1_normal", "auroc")
SPECIAL = re.compile(r"([&%$#_{}])")
SYMBOLS = {MINUS: "$-$", PLUS_MINUS: r"$\pm$", DASH: "--", "~": r"\textasciitilde{}"}
SYMBOLS |= {"^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}"}


def latex(
    groups: Sequence[Group], pictures: Mapping[str, Sequence[tuple[str, Picture]]], command: str
) -> str:
    r"""Returns tables and figures to \input into a document with booktabs and graphicx.

    Args:
        groups: a table for each.
        pictures: by the slug of the group, the PDF's name without its ending, and the picture.
        command: that wrote the report, for the captions.
    """
    parts = ["% \\usepackage{booktabs,graphicx}; median [lowest, highest], below it mean ± sd"]
    for group in groups:
        made = f"Made by \\texttt{{{escaped(command)}}} from runs of {_commits(group)}."
        parts.append(_table(group, made))
        for name, picture in pictures.get(group.slug, ()):
            caption = f"{escaped(f'{picture.title}. {picture.caption}')} {made}"
            parts.append(
                f"\\begin{{figure}}\n\\centering\n\\includegraphics{{{name}.pdf}}\n"
                f"\\caption{{{caption}}}\n\\label{{fig:{name}}}\n\\end{{figure}}"
            )
    return "\n\n".join(parts) + "\n"


def command_of(roots: Sequence[str]) -> str:
    """Returns the command that writes the report of these folders."""
    return shlex.join(["python", "-m", "pneumo.report", *roots])


def escaped(text: str) -> str:
    r"""Returns text without commands of LaTeX.

    >>> escaped("a_b 5 %")
    'a\\_b 5 \\%'
    """
    text = SPECIAL.sub(r"\\\1", text.replace("\\", "/"))
    return "".join(SYMBOLS.get(character, character) for character in text)


def _table(group: Group, made: str) -> str:
    head = " & ".join(["Model", "Runs", *(escaped(SCORES[name].heading) for name in SHOWN)])
    rows = "\n".join(row for cell in group.rows if cell.trials for row in _rows(cell))
    about = escaped(
        f"{group.kind}, {group.protocol} protocol, test split: median [lowest, highest]"
    )
    return (
        f"\\begin{{table}}\n\\centering\n\\caption{{{about}; mean $\\pm$ sd. {made}}}\n"
        f"\\label{{tab:{group.slug}}}\n\\begin{{tabular}}{{lr{'l' * len(SHOWN)}}}\n\\toprule\n"
        f"{head} \\\\\n\\midrule\n{rows}\n\\bottomrule\n\\end{{tabular}}\n\\end{{table}}"
    )


def _rows(cell: Cell) -> list[str]:
    over = [cell.spread(name) for name in SHOWN]
    first = [escaped(cell.label), str(len(cell.trials))]
    ends = [f" [{interval(s.low, s.high).replace(' to ', ', ')}]" for s in over]
    medians = [decimal(s.median) + end * (s.n > 1) for s, end in zip(over, ends, strict=True)]
    rows = [" & ".join([*first, *map(escaped, medians)]) + r" \\"]
    if len(cell.trials) > 1:
        means = [escaped(mean_and_sd(s.mean, s.sd)) for s in over]
        rows.append(" & ".join(["", "", *means]) + r" \\")
    return rows


def _commits(group: Group) -> str:
    commits = Counter(
        str(trial.metrics.get("git_commit") or "unknown")[:9] for trial in group.trials
    )
    return "commits " * (len(commits) > 1) + ", ".join(
        f"{escaped(commit)} ({count})" for commit, count in commits.most_common()
    )
