"""The stress test of runs (pneumo.inference.stress) on a terminal."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from pneumo import cli
from pneumo.report.groups import Cell, group_trials
from pneumo.report.reading import read_run, stress_numbers
from pneumo.report.tables import stress_table
from pneumo.report.trials import Trial
from pneumo.report.wording import decimal
from pneumo.runs.metrics import Stress, number
from pneumo.runs.run import Run

SHOWN = (1, 3, 5)  # severities
WIDTH = 26  # of a name
OTHERS = {"sensitivity": "sensitivity", "specificity": "specificity", "ece": "calibration error"}
SPLITS = {"val": "validation", "test": "test"}
LOOKED_AT = (
    "! these are test images: if a recipe is chosen by them, no untouched images are left to test "
    "it. Choose by --split val"
)
Results = Sequence[tuple[Run, Stress]]


def lines(results: Results) -> list[str]:
    """Returns the lines on the stress tests of one or several runs."""
    is_test = any(result["split"] == "test" for _, result in results)
    shown = _of_one(results[0][1]) if len(results) == 1 else _of_several(results)
    return [*shown, *([LOOKED_AT] if is_test else [])]


def _of_one(result: Stress) -> list[str]:
    clean: dict[str, Any] = {**result["clean"]}
    stressed: dict[str, Any] = {**result["stressed"]}
    others = (f"{t} {decimal(clean[n])} to {decimal(stressed[n])}" for n, t in OTHERS.items())
    rows = pd.DataFrame(result["rows"]).astype({"auroc": float})
    at: Any = {"index": "corruption", "columns": "severity", "sort": False, "dropna": False}
    changes = rows.pivot_table("auroc", **at)
    drop = number(clean["auroc"]) - changes.mean(axis=1)
    table = changes[[*SHOWN]].assign(**{"mean drop": drop}).rename_axis(None)
    table = table.rename_axis(columns="AUROC by severity")
    images = f"{result['images']:,}" + f" of {result['of']:,}" * (result["images"] < result["of"])
    return [
        f"Stress test on {images} {SPLITS[result['split']]} images, each changed in "
        f"{len(changes)} ways:",
        f"mean drop of AUROC {decimal(result['drop'], digits=4)}: {decimal(clean['auroc'])} "
        f"unchanged, {decimal(stressed['auroc'])} changed",
        f"at the threshold {result['threshold']:.4f}: {', '.join(others)}",
        *table.to_string(float_format="{:.3f}".format, na_rep="?").split("\n"),
    ]


def _of_several(results: Results) -> list[str]:
    """A row for each run, then one for each recipe of several runs: the table of the report."""
    names = cli.short_names([run.name for run, _ in results], width=WIDTH)
    read = [(read_run(run.run_dir, name=run.name), result) for run, result in results]
    trials = [
        replace(trial, more=tuple(stress_numbers(result)))  # a packaged run keeps no stress.json
        for trial, result in read
        if isinstance(trial, Trial)
    ]
    groups, _ = group_trials(trials)
    cells = [Cell(names[trial.name], trial.model, {}, [trial]) for trial in trials]
    for cell in (cell for group in groups for cell in group.networks if len(cell.trials) > 1):
        short = cell.label if len(cell.label) <= WIDTH else f"{cell.label[: WIDTH - 1]}…"
        cells.append(replace(cell, label=short))
    table = stress_table(cells, shown=("auroc",))
    return table.text(first=WIDTH + 6, others=17)
