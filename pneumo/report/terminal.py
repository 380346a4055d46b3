"""The scores of runs and of their ensembles, for a terminal of 80 columns."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pneumo import cli
from pneumo.evaluation.operating_point import VOTE
from pneumo.evaluation.paired import DIFFERENCES
from pneumo.evaluation.scores import SCORES as ALL_SCORES
from pneumo.report.table import Row, Table

WIDTH = 80  # columns
OF_ENTRY = ("auroc", "f1_normal", "accuracy")
SCORES = {"auroc": "AUROC", "sensitivity": "sensitivity", "specificity": "specificity"}
SHOWN = (0.05, 0.1, 0.2, 0.5)  # of the net benefit's thresholds


def wrapped(lines: Sequence[str]) -> str:
    """Returns the lines as text, broken at a space and indented if they are too long."""
    return "\n".join(wrapped for line in lines for wrapped in _wrap(line)) + "\n"


def score_lines(result: Mapping[str, Any]) -> list[str]:
    """Returns the lines for a result of pneumo.evaluate on labelled images."""
    on, weighted = result["scored_on"], result.get("weighted", {})
    entries = {member["run"]: member for member in result["members"]}
    names = cli.short_names(list(entries), width=18)
    if "ensemble" in result:
        entries["mean of the runs"] = result["ensemble"]
        if "scores" in weighted:
            entries["weighted mean"] = weighted
        entries["majority vote"] = result["vote"]
    rows: list[Row] = [
        {"run": names.get(name, name)}
        | {score: _number(entry["scores"][score]) for score in OF_ENTRY}
        for name, entry in entries.items()
    ]
    columns = {"run": ""} | {name: ALL_SCORES[name].title for name in OF_ENTRY}
    name = "mean of the runs" if "ensemble" in result else result["members"][0]["run"]
    shown = entries[name]
    checkpoint = f"; the {result['checkpoint']} checkpoint" if result["checkpoint"] else ""
    return [
        f"Scored on {on['what']}:",
        f"{on['images']:,} images of {on['patients']:,} patients, {on['NORMAL']:,} NORMAL, "
        f"{on['PNEUMONIA']:,} PNEUMONIA{checkpoint}",
        *(f"! {note}" for note in result["notes"]),
        "",
        *Table(columns, rows).lines(first=19, others=20),
        *([VOTE] if "vote" in result else []),
        *([f"no weights could be fitted: {weighted['why_not']}"] if "why_not" in weighted else []),
        *([f"weights {_joined(weighted['weights'])}"] if "weights" in weighted else []),
        *_paired_lines(result.get("differences", ())),
        *([f"! {shown['interval']['warning']}"] if shown["interval"]["warning"] else []),
        "",
        f"Of {name}:",
        *_point_lines(shown["operating_point"]),
        *_calibration_lines(shown["calibration"]),
        *_subgroup_lines(shown["subgroups"]),
        *_benefit_lines(shown["net_benefit"]),
    ]


def _paired_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The first run minus each other one."""
    if not rows:
        return []
    names = cli.short_names([rows[0]["first"], *(row["second"] for row in rows)], width=16)
    differences: list[Row] = [
        {"second": names[row["second"]]} | {name: _number(row[name], "+") for name in DIFFERENCES}
        for row in rows
    ]
    table = Table({"second": ""} | SCORES, differences)
    title, *lines = table.lines(first=17, others=21)
    counts = [
        f"  {cli.counted(row['called_differently'], 'image')} decided differently" for row in rows
    ]
    fixed = [rows[0]["first_fixed_on"], *(row["second_fixed_on"] for row in rows)]
    at = "each at its own operating point"
    if None in fixed:
        at = "at 0.5" if not any(fixed) else f"{at}, at 0.5 where a run has none"
    pairs = [line for pair in zip(lines, counts, strict=True) for line in pair]
    ending = f"  ({at}; paired bootstrap over patients)"
    return ["", f"{names[rows[0]['first']]} minus:", title, *pairs, ending]


def _point_lines(point: Mapping[str, Any]) -> list[str]:
    start = (
        f"operating point {point['threshold']:.4f}, sensitivity at least "
        f"{point['val_sensitivity_at_least']} on {point['val_images']:,} validation images:"
        if point["fixed_on"]
        else f"no operating point: {point['why_not']}. At 0.5, by default:"
    )
    return [
        start,
        *(f"  {k:12}{_number(point[k])}" for k in ("sensitivity", "specificity", "ppv", "npv")),
        f"  (prevalence here {point['own_prevalence']:.0%})",
        *(
            f"  at a prevalence of {row['prevalence']:.0%}: PPV {_decimal(row['ppv'])}, "
            f"NPV {_decimal(row['npv'])}"
            for row in point["at_prevalence"]
        ),
    ]


def _calibration_lines(calibration: Mapping[str, Any]) -> list[str]:
    before, after = (
        state and f"ECE {_decimal(state['ece'])}, Brier {_decimal(state['brier'])}"
        for state in (calibration["before"], calibration["after"])
    )
    if after:
        end = f"with temperature {calibration['temperature']:.3f} {after}"
    else:
        end = f"no temperature: {calibration['why_not']}"
    return [f"calibration of PNEUMONIA's probability: {before}; {end}"]


def _subgroup_lines(subgroups: Sequence[Mapping[str, Any]]) -> list[str]:
    rows: list[Row] = [
        {"subgroup": _end(f"{row['by']} {row['group']}", 18)}
        | dict.fromkeys(SCORES, "")
        | ({"auroc": row["why_not"]} if "why_not" in row else {k: _number(row[k]) for k in SCORES})
        for row in subgroups
    ]
    return Table({"subgroup": "subgroup"} | SCORES, rows).lines(first=19, others=20)


def _benefit_lines(benefit: Mapping[str, Any]) -> list[str]:
    curves = {f"{benefit['own_prevalence']:.0%} here": benefit["at"]}
    curves |= {f"{100 * each['prevalence']:.3g}%": each["at"] for each in benefit["at_prevalence"]}
    rows: list[Row] = [
        {"prevalence": f"  {name}"}
        | {
            f"{at['threshold']:.2f}": f"{_decimal(at['network'])} ({_decimal(at['treat_all'])})"
            for at in curve
        }
        for name, curve in curves.items()
    ]
    columns = {"prevalence": "  if treated at"} | {f"{at:.2f}": f"{at:.2f}" for at in SHOWN}
    return [
        f"net benefit of the {benefit['probability']} probability (treating everyone),",
        "by prevalence:",
        *Table(columns, rows).lines(first=16, others=16),
    ]


def _number(score: Mapping[str, float], sign: str = "") -> str:
    value, low, high = (_decimal(score[key], sign) for key in ("value", "low", "high"))
    return f"{value} {low}{' ' if sign else '-'}{high}"


def _decimal(value: float, sign: str = "") -> str:
    return "?" if np.isnan(value) else f"{value:{sign}.3f}"


def _joined(weights: Sequence[float]) -> str:
    return " ".join(f"{weight:.3f}" for weight in weights)


def _end(name: str, width: int) -> str:
    return name if len(name) <= width else "…" + name[1 - width :]


def _wrap(line: str) -> list[str]:
    """Breaks a long line at a space; continuation lines are indented."""
    return textwrap.wrap(
        line,
        WIDTH,
        subsequent_indent="    ",
        break_long_words=False,
        break_on_hyphens=False,
        drop_whitespace=True,
        replace_whitespace=False,
    ) or [""]
