"""The stress test of runs, for a terminal of 80 columns."""

from collections.abc import Sequence

from pneumo import cli
from pneumo.report.table import Row, Table
from pneumo.report.wording import decimal
from pneumo.runs.run import Run
from pneumo.runs.stress import Stress

SHOWN = (1, 3, 5)  # severities on a terminal
SPLITS = {"val": "validation", "test": "test"}
LOOKED_AT = (
    "! these are test images: a recipe that is chosen by them has no untouched test split left; "
    "choose by --split val"
)
Results = Sequence[tuple[Run, Stress]]


def lines(results: Results) -> list[str]:
    """Returns the lines on the stress tests of one or several runs."""
    splits = {result["split"] for _, result in results}
    shown = _of_one(results[0][1]) if len(results) == 1 else _of_several(results)
    return [*shown, *([LOOKED_AT] if "test" in splits else [])]


def _of_one(result: Stress) -> list[str]:
    clean, stressed = result["clean"], result["stressed"]
    titles = {"sensitivity": "sensitivity", "specificity": "specificity", "ece": "ECE"}
    others = ", ".join(
        f"{title} {decimal(clean[name])} to {decimal(stressed[name])}"  # type: ignore[literal-required]
        for name, title in titles.items()
    )
    return [
        f"Stress test on {_images(result)}, changed in {len(_names(result))} ways:",
        f"AUROC {decimal(clean['auroc'])}, on changed images {decimal(stressed['auroc'])}: "
        f"a mean drop of {decimal(result['drop'], digits=4)}",
        f"at the threshold {result['threshold']:.4f}: {others}",
        *_changes(result).split("\n"),
    ]


def _images(result: Stress) -> str:
    images, all_images = f"{result['images']:,}", f"{result['of']:,}"
    number = images if images == all_images else f"{images} of {all_images}"
    return f"{number} {SPLITS[result['split']]} images"


def _names(result: Stress) -> list[str]:
    return list(dict.fromkeys(row["corruption"] for row in result["rows"]))


def drop_of(result: Stress, corruption: str) -> float:
    """Returns the mean drop of AUROC over the severities of one change; NaN if undefined."""
    values = [row["auroc"] for row in result["rows"] if row["corruption"] == corruption]
    clean = result["clean"]["auroc"]
    if clean is None or None in values:
        return float("nan")
    return clean - sum(value or 0 for value in values) / len(values)


def _changes(result: Stress) -> str:
    auroc = {(row["corruption"], row["severity"]): row["auroc"] for row in result["rows"]}
    rows: list[Row] = [
        {"change": f"  {name}"}
        | {str(each): decimal(auroc[name, each]) for each in SHOWN}
        | {"drop": decimal(drop_of(result, name), digits=4, sign=True)}
        for name in _names(result)
    ]
    titles = {str(each): f"severity {each}" for each in SHOWN}
    return Table({"change": "  AUROC by change"} | titles | {"drop": "mean drop"}, rows).text(
        first=20, others=13
    )


def _of_several(results: Results) -> list[str]:
    names = cli.short_names([run.name for run, _ in results], width=30)
    rows: list[Row] = [
        {
            "run": names[run.name],
            "images": f"{result['images']:,} {result['split']}",
            "clean": decimal(result["clean"]["auroc"]),
            "stressed": decimal(result["stressed"]["auroc"]),
            "drop": decimal(result["drop"], digits=4),
        }
        for run, result in results
    ]
    columns = {"run": "Stress test", "images": "images", "clean": "AUROC"}
    columns |= {"stressed": "changed", "drop": "drop"}
    return Table(columns, rows).text(first=32, others=12).split("\n")
