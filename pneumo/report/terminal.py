"""The scores of runs and of their ensembles, for a terminal of 80 columns."""

import contextlib
import os
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pneumo import cli
from pneumo.evaluation.operating_point import VOTE, at_bound
from pneumo.evaluation.scores import SCORES as ALL_SCORES
from pneumo.report.templates import text_template
from pneumo.report.trials import tuples

WIDTH = 80  # columns
PREDICTED = ("path", "p_pneumonia", "boxes", "decision", "prediction_set")  # on a terminal
SCORES = {name: ALL_SCORES[name].title for name in ("auroc", "accuracy", "f1_normal")}
AT_POINT = {"auroc": "AUROC", "sensitivity": "sensitivity", "specificity": "specificity"}
TITLES = {name: ALL_SCORES[name].title for name in ("accuracy", "f1_normal", "auroc")}
NAME = 20  # columns of a network's name; a longer one has a line of its own
SHOWN = (0.05, 0.1, 0.2, 0.5)  # of the net benefit's thresholds


def wrapped(lines: Iterable[str]) -> str:
    """Returns the lines as text; long lines break at a space, and go on indented."""
    options: dict[str, Any] = {"break_long_words": False, "break_on_hyphens": False}
    options |= {"replace_whitespace": False, "subsequent_indent": "    "}
    return "".join(
        f"{part}\n" for line in lines for part in textwrap.wrap(line, WIDTH, **options) or [""]
    )


def show(lines: Iterable[str]) -> None:
    """Prints lines, wrapped; those that begin with ! in yellow."""
    for line in lines:
        style = "yellow" if line.startswith("! ") else ""
        cli.write(wrapped([line]), style=style, file=sys.stdout)


def place(name: str) -> str:
    """Returns a folder's absolute path by its last two names; any other text as it is."""
    parts = Path(name).parts
    return "/".join(("…", *parts[-2:])) if Path(name).is_absolute() and len(parts) > 3 else name


def shortened(lines: Iterable[str], names: Sequence[str]) -> list[str]:
    """Returns the lines with runs by the names of `cli.short_names`, instead of long paths."""
    short = cli.short_names(names, width=40)
    lines = list(lines)
    for name in sorted(names, key=len, reverse=True):
        lines = [line.replace(name, short[name]) for line in lines]
    return lines


def score_lines(result: Mapping[str, Any], *, full: bool = True) -> list[str]:
    """Returns the lines for a result of pneumo.evaluate on labelled images.

    Only with ``full`` the predictive values, the subgroups and the net benefit.
    """
    members = [member["run"] for member in result["members"]]
    entries = {member["run"]: member for member in result["members"]}
    name = members[0]
    if "ensemble" in result:
        name = "mean of the runs"
        entries[name] = result["ensemble"]
        if "scores" in result.get("weighted", {}):
            entries["weighted mean"] = result["weighted"]
        entries["majority vote"] = result["vote"]
    text = text_template("evaluate.txt.j2").render(
        result=result,
        what=place(result["scored_on"]["what"]),
        full=full,
        entries=entries,
        names=dict(zip(entries, entries, strict=True)) | cli.short_names(members, width=16),
        name=name,
        vote=VOTE,
        number=_number,
        at_bound=at_bound,
        score=_score,
        scores=SCORES,
        at_point=AT_POINT,
        benefit_at=SHOWN,
    )
    return shortened((line.rstrip() for line in text.rstrip("\n").split("\n")), members)


def show_predictions(rows: Sequence[Mapping[str, Any]]) -> None:
    """Prints the rows of predict as an aligned table; the flags in colour on a terminal.

    The folder that all absolute paths are in is a line above.
    """
    from rich.console import Console
    from rich.table import Table as Grid
    from rich.text import Text

    shown = [name for name in PREDICTED if name in rows[0]]
    grid = Grid(box=None, pad_edge=False, header_style="")
    for name in shown:
        long = name == "path"
        grid.add_column(name, overflow="fold" if long else "ellipsis", no_wrap=not long)
    grid.add_column("flags", overflow="fold")
    paths, folder = [Path(row["path"]) for row in rows], ""
    if all(path.is_absolute() for path in paths):
        folder = os.path.commonpath([path.parent for path in paths])
        sys.stdout.write(f"in {folder}:\n")
    for row in rows:
        error, reason = row["error"] or "", row["ood_reason"] or ""
        flags = Text(error, "red") if error else Text(reason, "yellow")
        cells = {**row, "path": row["path"].removeprefix(f"{folder}/")}
        grid.add_row(*(Text(_cell(cells[name])) for name in shown), flags)
    Console(file=sys.stdout, highlight=False).print(grid)


def _cell(value: Any) -> str:
    if isinstance(value, list):  # boxes of a detector
        scores = [f"{box['score']:.3f}" for box in value[:1]]
        return " ".join([str(len(value)), *(f"(best {score})" for score in scores)])
    return f"{value:.3f}" if isinstance(value, float) else str(value or "")


def summary(table: Path) -> str:
    """Returns each network's trials and scores on the test split: median, lowest-highest.

    Args:
        table: the report's summary.csv.
    """
    import pandas as pd

    with contextlib.suppress(pd.errors.EmptyDataError):
        scores = pd.read_csv(table)
        scores = scores[(scores["epoch"] == "best") & (scores["split"] == "test")]
        lines = []
        for (data, protocol), group in scores.groupby(["data", "protocol"], sort=False):
            lines += ["", f"{f'{data}, {protocol}':{NAME}}trials {_columns(TITLES)}"]
            for (network, runs), rows in group.groupby(["network", "runs"], sort=False):
                over = {row.score: _spread(row) for row in tuples(rows)}
                alone = [str(network)] if len(str(network)) >= NAME else []
                name = "" if alone else network
                lines += [*alone, f"{name:{NAME}}{runs:>6} {_columns(over)}"]
        return wrapped(lines[1:])
    return ""


def _columns(texts: Mapping[str, str]) -> str:
    return "".join(f"{texts.get(name, ''):18}" for name in TITLES).rstrip()


def _spread(row: Any) -> str:
    ends = f" {row.low:.3f}-{row.high:.3f}" if row.low < row.high else ""
    return f"{row.median:.3f}{ends}"


def _score(score: Mapping[str, float], sign: str = "") -> str:
    value, low, high = (_number(score[key], sign) for key in ("value", "low", "high"))
    return f"{value} {low}{' ' if sign else '-'}{high}"


def _number(value: float, sign: str = "") -> str:
    return "?" if np.isnan(value) else f"{value:{sign}.3f}"
