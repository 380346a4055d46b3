"""The stress test of runs (pneumo.inference.stress) on a terminal."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from pneumo import cli
from pneumo.report.groups import group_trials
from pneumo.report.reading import read_run
from pneumo.report.table import Row, Table
from pneumo.report.trials import Trial, tuples
from pneumo.report.wording import decimal, mean_and_error
from pneumo.runs.metrics import Stress, number
from pneumo.runs.run import Run

SHOWN = (1, 3, 5)  # severities
WIDTH = 32  # of a name
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
    changes = pd.DataFrame(result["rows"]).astype({"auroc": float})
    by_change = changes.groupby("corruption", sort=False)
    rows: list[Row] = [
        {"change": f"  {name}"}
        | {str(row.severity): decimal(row.auroc) for row in tuples(same)}
        | {"drop": decimal(number(clean["auroc"]) - same["auroc"].mean())}
        for name, same in by_change
    ]
    columns = {"change": "  AUROC by change"} | {str(each): f"severity {each}" for each in SHOWN}
    images = f"{result['images']:,}" + f" of {result['of']:,}" * (result["images"] < result["of"])
    return [
        f"Stress test on {images} {SPLITS[result['split']]} images, changed in {len(rows)} ways:",
        f"mean drop of AUROC {decimal(result['drop'], digits=4)}: {decimal(clean['auroc'])} "
        f"unchanged, {decimal(stressed['auroc'])} changed",
        f"at the threshold {result['threshold']:.4f}: {', '.join(others)}",
        *Table(columns | {"drop": "mean drop"}, rows).text(first=20, others=13).split("\n"),
    ]


def _of_several(results: Results) -> list[str]:
    """A row for each run, then one for each recipe of several runs."""
    names = cli.short_names([run.name for run, _ in results], width=WIDTH)
    table = pd.DataFrame(
        [(run.name, r["split"], r["drop"], r["clean"], r["stressed"]) for run, r in results],
        columns=["run", "split", "drop", "clean", "stressed"],
    )
    for when in ("clean", "stressed"):
        table[when] = [number(scores["auroc"]) for scores in table[when]]
    read = [read_run(run.run_dir, name=run.name) for run, _ in results]
    groups, _ = group_trials([trial for trial in read if isinstance(trial, Trial)])
    cells = [cell for group in groups for cell in group.networks]
    labels = {trial.name: cell.label for cell in cells for trial in cell.trials}
    rows = [_row(names[str(name)], same) for name, same in table.groupby("run", sort=False)]
    for (label, _), same in table.groupby([table["run"].map(labels), "split"], sort=False):
        if len(same) > 1:
            short = str(label) if len(str(label)) <= WIDTH - 9 else f"{str(label)[: WIDTH - 10]}…"
            rows.append(_row(f"{short}, {len(same)} runs", same))
    columns = {"run": "Stress test", "split": "split", "clean": "AUROC", "stressed": "changed"}
    return Table(columns | {"drop": "drop"}, rows).text(first=WIDTH + 2, others=10).split("\n")


def _row(name: str, same: pd.DataFrame) -> Row:
    means = {when: decimal(same[when].mean()) for when in ("clean", "stressed")}
    drop = same["drop"].astype(float)
    shown = mean_and_error(drop.mean(), drop.std(), drop.count())
    return {"run": name, "split": same["split"].iloc[0], **means, "drop": shown}
