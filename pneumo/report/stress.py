"""The stress tests of runs (pneumo.inference.stress) as one table, for the page and a terminal."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from pneumo import cli
from pneumo.report.groups import Cell, group_trials
from pneumo.report.reading import read_run, stress_numbers
from pneumo.report.table import Row, Table, titled
from pneumo.report.trials import Trial
from pneumo.report.wording import decimal, mean_and_error
from pneumo.runs.metrics import Stress
from pneumo.runs.run import Run

WIDTH = 26  # of a name on a terminal
SCORES = ("auroc", "sensitivity", "specificity", "ece")
LOOKED_AT = (
    "! these are test images: if a recipe is chosen by them, no untouched images are left to test "
    "it. Choose by --split val"
)
MORE = "AUROC unchanged to changed, means; stress.json has each change, pneumo.report draws them"


def stress_table(cells: Iterable[Cell], *, shown: Sequence[str] = SCORES) -> Table:
    """Returns a row for each recipe and split: means over runs, and standard errors of the drop."""
    rows: list[Row] = []
    for cell in cells:
        for split in ("val", "test"):
            drop = cell.spread("drop", split=f"stress_{split}")
            if drop.trials:
                error = mean_and_error(drop.mean, drop.sd, drop.n)
                name = cell.label, cli.counted(drop.trials, "run")
                row: dict[str, Any] = {"network": name, "split": split, "drop": error}
                for score in shown:
                    clean, stressed = (
                        decimal(cell.spread(score, split=f"stress_{split}_{when}").mean)
                        for when in ("clean", "stressed")
                    )
                    row[score] = clean, f"to {stressed}"
                rows.append(row)
    return titled(rows, "network", "split", "drop", *shown)


def lines(results: Sequence[tuple[Run, Stress]]) -> list[str]:
    """Returns a line for each stressed run, then one for each recipe of several runs."""
    names = cli.short_names([run.name for run, _ in results], width=WIDTH)
    read = [(read_run(run.run_dir, name=run.name), result) for run, result in results]
    trials = [
        replace(trial, more=tuple(stress_numbers(result)))  # a packaged run keeps no stress.json
        for trial, result in read
        if isinstance(trial, Trial)
    ]
    cells = [Cell(names[trial.name], trial.model, {}, [trial]) for trial in trials]
    for cell in (c for group in group_trials(trials)[0] for c in group.networks):
        if len(cell.trials) > 1:
            short = cell.label if len(cell.label) <= WIDTH else f"{cell.label[: WIDTH - 1]}…"
            cells.append(replace(cell, label=short))
    is_test = any(result["split"] == "test" for _, result in results)
    shown = stress_table(cells, shown=("auroc",)).text(first=WIDTH + 6, others=17)
    return [*shown, MORE, *([LOOKED_AT] if is_test else [])]
