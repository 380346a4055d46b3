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
from pneumo.evaluation.paired import DIFFERENCES
from pneumo.evaluation.scores import SCORES as ALL_SCORES
from pneumo.report.table import Row, Table
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
    entries = {member["run"]: member for member in result["members"]}
    names = cli.short_names(list(entries), width=18)
    name = result["members"][0]["run"]
    if "ensemble" in result:
        name = "mean of the runs"
        entries[name] = result["ensemble"]
        if "scores" in result.get("weighted", {}):
            entries["weighted mean"] = result["weighted"]
        entries["majority vote"] = result["vote"]
    rows: list[Row] = [
        {"run": names.get(run, run)} | {key: _score(entry["scores"][key]) for key in SCORES}
        for run, entry in entries.items()
    ]
    shown = entries[name]
    ranking = {run: entry["ranking"] for run, entry in entries.items() if entry.get("ranking")}
    text = text_template("evaluate.txt.j2").render(
        result=result,
        what=place(result["scored_on"]["what"]),
        full=full,
        entries=len(entries),
        name=name,
        shown=shown,
        vote=VOTE,
        ranking=[
            f"{names.get(run, run)}: {why}" if len(entries) > 1 else why
            for run, why in ranking.items()
        ],
        number=_number,
        at_bound=at_bound,
        score=_score,
        scores=Table({"run": ""} | SCORES, rows).text(first=19, others=20),
        paired=_paired(result.get("differences", ())),
        subgroups=_subgroups(shown["subgroups"]),
        benefits=_benefits(shown["net_benefit"]),
    )
    members = [member["run"] for member in result["members"]]
    return shortened(text.rstrip("\n").split("\n"), members)


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
                lines += [*alone, f"{name:{NAME}}{runs:>6} {_columns({**TITLES, **over})}"]
        return wrapped(lines[1:])
    return ""


def _columns(texts: Mapping[str, str]) -> str:
    return "".join(f"{texts[name]:18}" for name in TITLES).rstrip()


def _spread(row: Any) -> str:
    ends = f" {row.low:.3f}-{row.high:.3f}" if row.low < row.high else ""
    return f"{row.median:.3f}{ends}"


def _paired(rows: Sequence[Mapping[str, Any]]) -> str:
    """The first run minus each other one."""
    if not rows:
        return ""
    names = cli.short_names([rows[0]["first"], *(row["second"] for row in rows)], width=16)
    differences: list[Row] = [
        {"second": names[row["second"]]} | {name: _score(row[name], "+") for name in DIFFERENCES}
        for row in rows
    ]
    title, *lines = (
        Table({"second": ""} | AT_POINT, differences).text(first=17, others=21).split("\n")
    )
    counts = (cli.counted(row["called_differently"], "image") for row in rows)
    pairs = [f"{line}\n  {n} decided differently" for line, n in zip(lines, counts, strict=True)]
    return "\n".join([f"{names[rows[0]['first']]} minus:", title, *pairs])


def _subgroups(subgroups: Sequence[Mapping[str, Any]]) -> str:
    rows: list[Row] = []
    for row in subgroups:
        why_not = dict.fromkeys(AT_POINT, "") | {"auroc": row.get("why_not", "")}
        scores = why_not if "why_not" in row else {key: _score(row[key]) for key in AT_POINT}
        name = f"{row['by']} {row['group']}"
        rows.append({"subgroup": name if len(name) <= 18 else "…" + name[-17:]} | scores)
    return Table({"subgroup": "subgroup"} | AT_POINT, rows).text(first=19, others=20)


def _benefits(benefit: Mapping[str, Any]) -> str:
    curves = {f"{benefit['own_prevalence']:.0%} here": benefit["at"]}
    curves |= {f"{100 * each['prevalence']:.3g}%": each["at"] for each in benefit["at_prevalence"]}
    rows: list[Row] = [
        {"prevalence": f"  {name}"}
        | {
            f"{at['threshold']:.2f}": f"{_number(at['network'])} ({_number(at['treat_all'])})"
            for at in curve
        }
        for name, curve in curves.items()
    ]
    columns = {"prevalence": "  if treated at"} | {f"{at:.2f}": f"{at:.2f}" for at in SHOWN}
    return Table(columns, rows).text(first=16, others=16)


def _score(score: Mapping[str, float], sign: str = "") -> str:
    value, low, high = (_number(score[key], sign) for key in ("value", "low", "high"))
    return f"{value} {low}{' ' if sign else '-'}{high}"


def _number(value: float, sign: str = "") -> str:
    return "?" if np.isnan(value) else f"{value:{sign}.3f}"
