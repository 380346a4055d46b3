"""The stress test of runs (pneumo.inference.stress), on a terminal and as a table of the report."""

from collections import defaultdict
from collections.abc import Sequence
from math import sqrt
from typing import Any, NamedTuple

from pneumo import cli
from pneumo.report.groups import Cell, Group, group_trials
from pneumo.report.reading import read_run
from pneumo.report.table import Row, Table, titled
from pneumo.report.trials import Trial, spread
from pneumo.report.wording import PLUS_MINUS, decimal
from pneumo.runs.run import Run
from pneumo.runs.stress import Stress, number

SHOWN = (1, 3, 5)  # severities on a terminal
WIDTH = 32  # of a name on a terminal
OTHERS = {"sensitivity": "sensitivity", "specificity": "specificity", "ece": "calibration error"}
SPLITS = {"val": "validation", "test": "test"}
LOOKED_AT = (
    "! these are test images: if a recipe is chosen by them, no untouched images are left to test "
    "it. Choose by --split val"
)
Results = Sequence[tuple[Run, Stress]]


class Tested(NamedTuple):
    """The stress tests of one recipe on one split, of K runs."""

    cell: Cell
    split: str  # val or test
    results: list[Stress]


def tested(group: Group) -> list[Tested]:
    """Returns the stress tests of a group's networks, in the order of its table."""
    rows = []
    for cell in group.networks:
        results = [stress for trial in cell.trials if (stress := trial.metrics.get("stress"))]
        for split in SPLITS:
            if of_split := [each for each in results if each["split"] == split]:
                rows.append(Tested(cell, split, of_split))
    return rows


def table(group: Group) -> Table:
    """Returns a row for each recipe and split: means over runs, and standard errors of the drop."""
    rows: list[Row] = [
        {
            "network": (row.cell.label, f"{cli.counted(len(row.results), 'run')}, {row.split}"),
            **{
                name: (
                    _mean(row.results, name, "clean"),
                    f"to {_mean(row.results, name, 'stressed')}",
                )
                for name in ("auroc", *OTHERS)
            },
            "drop": _drop(row.results),
        }
        for row in tested(group)
    ]
    return titled(rows, "network", "drop", "auroc", *OTHERS)


def lines(results: Results) -> list[str]:
    """Returns the lines on the stress tests of one or several runs."""
    splits = {result["split"] for _, result in results}
    shown = _of_one(results[0][1]) if len(results) == 1 else _of_several(results)
    return [*shown, *([LOOKED_AT] if "test" in splits else [])]


def _of_one(result: Stress) -> list[str]:
    names = list(dict.fromkeys(row["corruption"] for row in result["rows"]))
    others = (
        f"{title} {_mean([result], name, 'clean')} to {_mean([result], name, 'stressed')}"
        for name, title in OTHERS.items()
    )
    auroc = {(row["corruption"], row["severity"]): number(row["auroc"]) for row in result["rows"]}
    clean = number(result["clean"]["auroc"])
    rows: list[Row] = [
        {"change": f"  {name}"}
        | {str(severity): decimal(auroc[name, severity]) for severity in SHOWN}
        | {"drop": decimal(clean - spread([auroc[at] for at in auroc if at[0] == name]).mean)}
        for name in names
    ]
    columns = {"change": "  AUROC by change"} | {str(each): f"severity {each}" for each in SHOWN}
    return [
        f"Stress test on {_images(result)}, changed in {len(names)} ways:",
        f"mean drop of AUROC {decimal(result['drop'], digits=4)}: {decimal(clean)} unchanged, "
        f"{_mean([result], 'auroc', 'stressed')} changed",
        f"at the threshold {result['threshold']:.4f}: {', '.join(others)}",
        *Table(columns | {"drop": "mean drop"}, rows).text(first=20, others=13).split("\n"),
    ]


def _of_several(results: Results) -> list[str]:
    """A row for each run, then one for each recipe of several runs."""
    names = cli.short_names([run.name for run, _ in results], width=WIDTH)
    rows = [_row(names[run.name], [result]) for run, result in results]
    by_name = {run.name: result for run, result in results}
    read = (read_run(run.run_dir, name=run.name) for run, _ in results)
    groups, _ = group_trials([trial for trial in read if isinstance(trial, Trial)])
    for cell in (cell for group in groups for cell in group.networks if len(cell.trials) > 1):
        by_split = defaultdict(list)
        for trial in cell.trials:
            by_split[by_name[trial.name]["split"]].append(by_name[trial.name])
        label = cell.label if len(cell.label) <= WIDTH - 9 else f"{cell.label[: WIDTH - 10]}…"
        rows += [_row(f"{label}, {len(each)} runs", each) for each in by_split.values()]
    columns = {"run": "Stress test", "split": "split", "clean": "AUROC", "stressed": "changed"}
    return Table(columns | {"drop": "drop"}, rows).text(first=WIDTH + 2, others=10).split("\n")


def _row(name: str, results: Sequence[Stress]) -> Row:
    means = {when: _mean(results, "auroc", when) for when in ("clean", "stressed")}
    return {"run": name, "split": results[0]["split"], **means, "drop": _drop(results)}


def _mean(results: Sequence[Any], name: str, when: str) -> str:
    return decimal(spread([number(result[when][name]) for result in results]).mean)


def _drop(results: Sequence[Stress]) -> str:
    """The mean drop, and of several runs its standard error."""
    drop = spread([number(result["drop"]) for result in results])
    error = f" {PLUS_MINUS} {decimal(drop.sd / sqrt(drop.n), digits=4)}" if drop.n > 1 else ""
    return decimal(drop.mean, digits=4) + error


def _images(result: Stress) -> str:
    images, of = f"{result['images']:,}", f"{result['of']:,}"
    return f"{images if images == of else f'{images} of {of}'} {SPLITS[result['split']]} images"
