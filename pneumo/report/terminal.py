"""The scores of runs and of their ensembles, for a terminal of 80 columns."""

import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from pneumo import cli
from pneumo.evaluation.combine import VOTE
from pneumo.evaluation.paired import DIFFERENCES

WIDTH = 80  # columns
SHOWN = (0.05, 0.1, 0.2, 0.5)  # of the net benefit's thresholds


def wrapped(lines: Sequence[str]) -> str:
    """Returns the lines as text, those that are too long broken at a space and indented."""
    return "\n".join(wrapped for line in lines for wrapped in _wrap(line)) + "\n"


def score_lines(found: Mapping[str, Any]) -> list[str]:
    """Returns the lines of what pneumo.evaluate found of labelled images."""
    on = found["scored_on"]
    lines = [
        f"Scored on {on['what']}:",
        f"{on['images']:,} images of {on['patients']:,} patients, {on['NORMAL']:,} NORMAL, "
        f"{on['PNEUMONIA']:,} PNEUMONIA"
        + (f"; the {found['checkpoint']} checkpoint" if found["checkpoint"] else ""),
        *(f"! {note}" for note in found["notes"]),
        "",
        f"{'':19}{'AUROC':20}{'F1 NORMAL':20}accuracy",
    ]
    entries = {one["run"]: one for one in found["members"]}
    if "ensemble" in found:
        entries["mean of the runs"] = found["ensemble"]
        if "scores" in found["weighted"]:
            entries["weighted mean"] = found["weighted"]
        entries["majority vote"] = found["vote"]
    short = cli.short_names([one["run"] for one in found["members"]], width=18)
    for name, one in entries.items():
        shown = (_number(one["scores"][k]) for k in ("auroc", "f1_normal", "accuracy"))
        start = short.get(name, name)
        lines.append(f"{start:19}" + "".join(f"{one:20}" for one in shown).rstrip())
    if "vote" in found:
        lines.append(VOTE)
    if "why_not" in found.get("weighted", {}):
        lines.append(f"no weights could be fitted: {found['weighted']['why_not']}")
    if "weights" in found.get("weighted", {}):
        lines.append("weights " + " ".join(f"{w:.3f}" for w in found["weighted"]["weights"]))
    lines += paired_lines(found.get("differences", ()))
    name = "mean of the runs" if "ensemble" in found else found["members"][0]["run"]
    blocks: tuple[Callable[[dict[str, Any]], list[str]], ...] = (
        *(_point_lines, _calibration_lines, _subgroup_lines, _benefit_lines),
    )
    if entries[name]["interval"]["warning"]:
        lines.append(f"! {entries[name]['interval']['warning']}")
    lines += ["", f"Of {name}:", *(line for block in blocks for line in block(entries[name]))]
    return lines


def paired_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The first run minus each other one, for a terminal."""
    if not rows:
        return []
    names = cli.short_names([rows[0]["first"], *(row["second"] for row in rows)], width=16)
    lines = ["", f"{names[rows[0]['first']]} minus:"]
    lines.append(f"{'':17}{'AUROC':21}{'sensitivity':21}specificity")
    for row in rows:
        cells = "".join(f"{_signed(row[name]):21}" for name in DIFFERENCES)
        lines.append(f"{names[row['second']]:17}{cells}".rstrip())
        lines.append(f"  {cli.counted(row['called_differently'], 'image')} decided differently")
    fixed = [rows[0]["first_fixed_on"], *(row["second_fixed_on"] for row in rows)]
    at = "each at its own operating point"
    if None in fixed:
        at = "at 0.5" if not any(fixed) else f"{at}, at 0.5 where a run has none"
    return [*lines, f"  ({at}; paired bootstrap over patients)"]


def _signed(found: Mapping[str, float]) -> str:
    value, low, high = (
        "?" if np.isnan(found[key]) else f"{found[key]:+.3f}" for key in ("value", "low", "high")
    )
    return f"{value} {low} {high}"


def _point_lines(one: dict[str, Any]) -> list[str]:
    point = one["operating_point"]
    if point["fixed_on"] is None:
        said = f"no operating point: {point['why_not']}. At 0.5, which nothing speaks for:"
    else:
        said = (
            f"operating point {point['threshold']:.4f}, sensitivity at least "
            f"{point['val_sensitivity_at_least']} on {point['val_images']:,} validation images:"
        )
    values = [f"  {k:12}{_number(point[k])}" for k in ("sensitivity", "specificity", "ppv", "npv")]
    stated = [
        f"  at a prevalence of {row['prevalence']:.0%}: PPV {_decimal(row['ppv'])}, "
        f"NPV {_decimal(row['npv'])}"
        for row in point["at_prevalence"]
    ]
    return [said, *values, f"  (prevalence here {point['own_prevalence']:.0%})", *stated]


def _calibration_lines(one: dict[str, Any]) -> list[str]:
    found = one["calibration"]
    before = f"ECE {_decimal(found['before']['ece'])}, Brier {_decimal(found['before']['brier'])}"
    what = "calibration of PNEUMONIA's probability"
    if found["after"] is None:
        return [f"{what}: {before}; no temperature: {found['why_not']}"]
    after = f"ECE {_decimal(found['after']['ece'])}, Brier {_decimal(found['after']['brier'])}"
    return [f"{what}: {before}; with temperature {found['temperature']:.3f} {after}"]


def _subgroup_lines(one: dict[str, Any]) -> list[str]:
    lines = [f"{'subgroup':19}{'AUROC':20}{'sensitivity':20}specificity"]
    for row in one["subgroups"]:
        name = _short(f"{row['by']} {row['group']}", 18)
        if "why_not" in row:
            lines.append(f"{name:19}{row['why_not']}")
            continue
        shown = (f"{_number(row[k]):20}" for k in ("auroc", "sensitivity", "specificity"))
        lines.append(f"{name:19}" + "".join(shown).rstrip())
    return lines


def _benefit_lines(one: dict[str, Any]) -> list[str]:
    found = one["net_benefit"]
    curves = [(f"{found['own_prevalence']:.0%} here", found["at"])]
    curves += [
        (f"{100 * stated['prevalence']:.3g}%", stated["at"]) for stated in found["at_prevalence"]
    ]
    lines = [
        f"net benefit of the {found['probability']} probability (treating everyone),",
        "by prevalence:",
        f"  {'if treated at':14}" + "".join(f"{at:<16.2f}" for at in SHOWN).rstrip(),
    ]
    for name, rows in curves:
        cells = (
            f"{_decimal(row['network'])} ({_decimal(row['treat_all'])})"
            for row in rows
            if row["threshold"] in SHOWN
        )
        lines.append(f"  {name:14}" + "".join(f"{cell:16}" for cell in cells).rstrip())
    return lines


def _number(found: dict[str, float]) -> str:
    value, low, high = (found[key] for key in ("value", "low", "high"))
    return f"{_decimal(value)} {_decimal(low)}-{_decimal(high)}"


def _decimal(value: float) -> str:
    return "?" if np.isnan(value) else f"{value:.3f}"


def _short(name: str, width: int) -> str:
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
