"""The report's scores as LaTeX for a thesis: a booktabs table for each group, and its figures."""

import re
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pneumo.evaluation.scores import SCORES
from pneumo.report.drawing import Picture
from pneumo.report.groups import Cell, Group
from pneumo.report.trials import Trial
from pneumo.report.wording import DASH, MINUS, PLUS_MINUS, decimal, interval, mean_and_sd
from pneumo.runs.run import Run

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
        source = escaped(commits(group.trials))
        made = f"Made by \\texttt{{{escaped(command)}}} from runs of {source}."
        parts.append(_table(group, made))
        for name, picture in pictures.get(group.slug, ()):
            caption = f"{escaped(f'{picture.title}. {picture.caption}')} {made}"
            parts.append(
                f"\\begin{{figure}}\n\\centering\n\\includegraphics{{{name}.pdf}}\n"
                f"\\caption{{{caption}}}\n\\label{{fig:{name}}}\n\\end{{figure}}"
            )
    return "\n\n".join(parts) + "\n"


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
