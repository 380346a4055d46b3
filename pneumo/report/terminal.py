"""The scores of runs and of their ensembles, for a terminal of 80 columns."""

import os
import sys
import textwrap
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pneumo import cli
from pneumo.evaluation.detection import IOU, MAP_SENTENCE
from pneumo.evaluation.operating_point import VOTE, at_bound
from pneumo.evaluation.scores import BOX_SCORES
from pneumo.evaluation.scores import SCORES as ALL_SCORES
from pneumo.report.assessed import tables
from pneumo.report.groups import Cell, group_trials
from pneumo.report.reading import read_run, stress_numbers
from pneumo.report.table import by_name
from pneumo.report.tables import stress_table
from pneumo.report.trials import Trial, tuples
from pneumo.runs.metrics import Stress
from pneumo.runs.run import Run

WIDTH = 80  # columns
PREDICTED = ("path", "p_pneumonia", "boxes", "decision", "prediction_set")  # on a terminal
SCORES = {name: ALL_SCORES[name].title for name in ("auroc", "accuracy", "f1_normal")}
AT_POINT = {"auroc": "AUROC", "sensitivity": "sensitivity", "specificity": "specificity"}
BOX_TABLES = (("challenge", "f1", "auroc"), ("precision", "recall", "map_50"))
STRESS = 26  # width of a run's name above its stress test
LOOKED_AT = (
    "! these are test images: if a recipe is chosen by them, no untouched images are left to test "
    "it. Choose by --split val"
)
MORE = "AUROC unchanged to changed, means; stress.json has each change, pneumo.report draws them"
FULL = {  # tables of --full: title, widths of the first column and the others
    **dict.fromkeys(("point", "prevalence", "calibration"), ("", 30, 20)),
    "subgroups": ("", 24, 18),
    "benefit": ("net benefit of the {} probability, and of treating everyone:", 11, 13),
}


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
    names, on = cli.short_names(members, width=16), result["scored_on"]
    entries = {names[member["run"]]: member for member in result["members"]}
    main, weighted, several = names[members[0]], result.get("weighted", {}), "ensemble" in result
    if several:
        main = "mean of the runs"
        entries[main] = result["ensemble"]
        if "scores" in weighted:
            entries["weighted mean"] = weighted
        entries["majority vote"] = result["vote"]
    lines = [
        f"! {f'{name}: ' * several}{entry['ranking']}."
        for name, entry in entries.items()
        if entry.get("ranking")
    ]
    checkpoint = f"; the {result['checkpoint']} checkpoint" * bool(result["checkpoint"])
    lines += [
        f"Scored on {place(on['what'])}:",
        f"{on['images']:,} images of {on['patients']:,} patients, {on['NORMAL']:,} NORMAL, "
        f"{on['PNEUMONIA']:,} PNEUMONIA{checkpoint}",
        *(f"! {note}" for note in result["notes"]),
        "",
    ]
    scores = {name: entry["scores"] for name, entry in entries.items()}
    lines += score_table(SCORES, scores, first=19, others=20)
    lines += [VOTE] * several
    if "why_not" in weighted:
        lines.append(f"no weights could be fitted: {weighted['why_not']}")
    if "weights" in weighted:
        lines.append(" ".join(["weights", *map(_number, weighted["weights"])]))
    if result.get("differences"):
        lines += ["", *_difference_lines(result["differences"], names)]
    shown = entries[main]
    if shown["interval"]["warning"]:
        lines.append(f"! {shown['interval']['warning']}")
    lines += ["", *[f"Of the {main}:"] * several, *_point_lines(shown)]
    if not full:
        lines.append("95 % intervals over patients. --full adds predictive values and subgroups.")
        return shortened(lines, members)
    of_run, benefit = tables(shown), shown["net_benefit"]["probability"]
    for table, (title, first, others) in FULL.items():
        lines += ["", *([title.format(benefit)] if title else [])]
        lines += of_run[table].text(first=first, others=others)
    return shortened(lines, members)


def detector_lines(result: Mapping[str, Any]) -> list[str]:
    """Returns the lines for the scores of detectors, alone and fused."""
    on, members, fused = (result[key] for key in ("scored_on", "members", "fused"))
    short = cli.short_names([entry["run"] for entry in members], width=19)
    entries = {short[entry["run"]]: entry for entry in members}
    entries |= {method: entry for method, entry in fused.items() if "scores" in entry}
    lines = [
        f"Scored on {on['what']}: {on['images']:,} images of {on['patients']:,} patients, "
        f"{on['with_boxes']:,} with boxes",
        *(f"! {note}" for note in result["notes"]),
    ]
    scores = {name: entry["scores"] for name, entry in entries.items()}
    for names in BOX_TABLES:
        titles = {name: BOX_SCORES[name].heading.removesuffix(f" at IoU {IOU}") for name in names}
        table = score_table(titles, scores, first=20, others=20)
        lines += ["", *(line.replace(" ?-?", "    ").rstrip() for line in table)]
    lines += ["", f"F1, precision and recall of boxes at IoU {IOU} and at the confidence fixed on"]
    lines.append("validation images:")
    lines += [f"  {entry['confidence']:.4f}  {name}" for name, entry in entries.items()]
    for method, entry in fused.items():
        if "why_not" in entry:
            lines.append(f"no {method}: {entry['why_not']}")
    if weights := next((e["weights"] for e in fused.values() if "weights" in e), None):
        lines.append(" ".join(["weights, from validation:", *map(_number, weights)]))
    why_no_map = members[0]["why_no_map"]
    return [*lines, f"no mAP: {why_no_map}" if why_no_map else MAP_SENTENCE]


def stress_lines(results: Sequence[tuple[Run, Stress]]) -> list[str]:
    """Returns a line for each stressed run, then one for each recipe of several runs."""
    names = cli.short_names([run.name for run, _ in results], width=STRESS)
    read = [(read_run(run.run_dir, name=run.name), result) for run, result in results]
    trials = [
        replace(trial, more=tuple(stress_numbers(result)))  # a packaged run keeps no stress.json
        for trial, result in read
        if isinstance(trial, Trial)
    ]
    cells = [Cell(names[trial.name], trial.model, {}, [trial]) for trial in trials]
    for cell in (c for group in group_trials(trials)[0] for c in group.networks):
        if len(cell.trials) > 1:
            short = cell.label if len(cell.label) <= STRESS else f"{cell.label[: STRESS - 1]}…"
            cells.append(replace(cell, label=short))
    is_test = any(result["split"] == "test" for _, result in results)
    shown = stress_table(cells, shown=("auroc",)).text(first=STRESS + 6, others=17)
    return [*shown, MORE, *([LOOKED_AT] if is_test else [])]


def _difference_lines(rows: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> list[str]:
    fixed = any([rows[0]["first_fixed_on"], *(row["second_fixed_on"] for row in rows)])
    lines = [f"{names[rows[0]['first']]} minus:"]
    for row in rows:
        scores = {names[row["second"]]: row}
        titles, *values = score_table(AT_POINT, scores, first=17, others=21, sign="+")
        called = cli.counted(row["called_differently"], "image")
        lines += [*([titles] if row is rows[0] else []), *values, f"  {called} decided differently"]
    how = "each at its own operating point" if fixed else "at 0.5"
    return [*lines, f"  ({how}; paired bootstrap over patients)"]


def _point_lines(shown: Mapping[str, Any]) -> list[str]:
    """Sensitivity and specificity, the rule of the threshold, and the calibration."""
    point, calibration = shown["operating_point"], shown["calibration"]
    if "why_not" in point:
        rule = f"at 0.5; no operating point: {point['why_not']}"
    elif point["fixed_on"]:
        rule = (
            f"at {point['threshold']:.4f} (decision={point['decision']}: at least "
            f"{point['val_sensitivity_at_least']} on {point['val_images']:,} validation images)"
        )
    else:
        equal = " of probabilities for equal classes" * (point["decision"] == "balanced")
        rule = f"at 0.5{equal} (decision={point['decision']})"
    temperature = calibration["temperature"]
    after = f"no temperature: {calibration.get('why_not')}"
    if calibration["after"]:
        bound, ece = at_bound(temperature), _number(calibration["after"]["ece"])
        after = f"with temperature {_number(temperature)}{bound}: {ece}"
    return [
        f"sensitivity {_score(point['sensitivity'])}, specificity {_score(point['specificity'])}",
        f"  {rule}",
        f"calibration: ECE {_number(calibration['before']['ece'])}; {after}",
    ]


def score_table(
    titles: Mapping[str, str], scores: Mapping[str, Any], *, sign: str = "", **widths: int
) -> list[str]:
    """Returns lines: a row for each name, a column for each score; ``widths``: see `Table.text`."""
    rows = {name: {key: _score(of[key], sign) for key in titles} for name, of in scores.items()}
    return by_name("", titles, rows).text(**widths)


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
        shared = os.path.commonpath([path.parent for path in paths])
        folder = f"{shared.rstrip('/')}/"
        sys.stdout.write(f"in {shared}:\n")
    for row in rows:
        error, reason = row["error"] or "", row["ood_reason"] or ""
        flags = Text(error, "red") if error else Text(reason, "yellow")
        cells = {**row, "path": row["path"].removeprefix(folder)}
        grid.add_row(*(Text(_cell(cells[name])) for name in shown), flags)
    Console(file=sys.stdout, highlight=False).print(grid)


def _cell(value: Any) -> str:
    if isinstance(value, list):  # boxes of a detector
        scores = [f"{box['score']:.3f}" for box in value[:1]]
        return " ".join([str(len(value)), *(f"(best {score})" for score in scores)])
    return f"{value:.3f}" if isinstance(value, float) else str(value or "")


def summary(report: Path) -> str:
    """Returns the test scores of a report (median, lowest-highest) and what is left out.

    Without scores, as of detectors only, the first paragraph of its summary.md.
    """
    import pandas as pd

    scores = pd.read_csv(report / "summary.csv")
    is_test = (scores["epoch"] == "best") & (scores["split"] == "test")
    lines = list[str]()
    for (data, protocol), group in scores[is_test].groupby(["data", "protocol"], sort=False):
        rows: dict[str, dict[str, str]] = defaultdict(dict)
        for each in tuples(group):
            ends = f" {each.low:.3f}-{each.high:.3f}" * bool(each.low < each.high)
            name = f"{each.network}, {cli.counted(each.runs, 'run')}"
            rows[name][each.score] = f"{each.median:.3f}{ends}"
        table = by_name(f"{data}, {protocol}", SCORES, rows)
        lines += ["", *table.text(first=26, others=18)]
    if not lines:
        return wrapped((report / "summary.md").read_text(encoding="utf-8").splitlines()[2:3])
    states = pd.read_csv(report / "runs.csv", usecols=["state"])["state"]
    if len(left_out := states[states != "done"]):
        counts = ", ".join(f"{n} {state}" for state, n in left_out.value_counts().items())
        lines.append(f"! Left out: {counts}. The report gives the reasons.")
    return wrapped(lines[1:])


def _score(score: Mapping[str, float], sign: str = "") -> str:
    value, low, high = (_number(score[key], sign) for key in ("value", "low", "high"))
    return f"{value} {low}{' ' if sign else '-'}{high}"


def _number(value: float, sign: str = "") -> str:
    return "?" if np.isnan(value) else f"{value:{sign}.3f}"
