"""The audit as one self-contained page: no script, nothing loaded, pictures inline."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import pandas as pd

from pneumo.auditing.copies import Pair
from pneumo.auditing.shortcuts import BASELINES
from pneumo.labels import CLASS_NAMES, SUBTYPES
from pneumo.report.table import Table
from pneumo.report.templates import render_page
from pneumo.report.wording import DASH, decimal, duration, score_cell

TABLES = ("files.csv", "identical.csv", "near_identical.csv")
MOST_ROWS = 60  # of a list on the page; the CSV files have all
MOST_KINDS = 4  # modes or qualities in a cell
PATIENT_KEYS = {
    "person": "by the number alone (as in random splits)",
    "split_person": "by the number within train or test (as in the set's own split)",
    "series": "by the number within train or test and bacteria or virus",
    "own": "by the data set, or each image its own",
}
COUNTS = {"source": "Source", "images": "Images", "patients": "Patients"}
COUNTS |= {name: name for name in (*CLASS_NAMES, *SUBTYPES[1:])}
KINDS = {"format": "Format", "mode": "Mode", "quality": "JPEG quality"}
SIZES = {"width": "Width", "height": "Height", "proportions": "Width / height", "bytes": "Bytes"}
PROTOCOLS = {
    "paper": "Random 70/30 split by patient",
    "official": "Train folder → test folder",
}
CROSSING = {"set": "Set", "path": "File", "patient": "Patient"}
NESTED = {"folder": "Folder", "images": "Images", "identical": "Copies of the set's own"}
UNREADABLE = {"path": "File", "why": "Why it cannot be read"}
ACROSS = {
    "what": "Copies",
    "sets": "Sets or pairs",
    "files": "Files",
    "patients": "Across patients",
    "labels": "Across labels",
    "own_split": "Across train and test",
    "random_split": "Across the random split",
}


def html(numbers: Mapping[str, Any], *, same: pd.DataFrame, pairs: Sequence[Pair]) -> str:
    """Returns the page's text; names that come from the data set are escaped.

    ``same``: the identical images; ``pairs``: of the contact sheet.
    """
    crossing = same[same["across_patients"] | same["across_labels"]]
    protocols = numbers["protocols"]
    saved = {"where": "Source, class", "images": "Images"} | SIZES | KINDS
    return render_page(
        "audit.html.j2",
        package="pneumo.auditing",
        numbers=numbers,
        sentences=numbers["findings"],
        patients=[(n, PATIENT_KEYS[key]) for key, n in numbers["data"]["patients"].items()],
        tables={
            "scores": scores(numbers),
            "counts": _table(COUNTS, numbers["counts"]),
            "copies": _table(ACROSS, _copies(numbers)),
            "saved": Table(saved, [_saved(row) for row in numbers["saved"]], texts=[*KINDS]),
            "crossing": _table(CROSSING, crossing.to_dict("records"), texts=("path", "patient")),
            "nested": _table(NESTED, numbers["nested"]),
            "unreadable": _table(UNREADABLE, numbers["unreadable"], texts=("why",)),
        },
        sizes=[_size(PROTOCOLS[name], result) for name, result in protocols.items()],
        pairs=pairs,
        num_crossing=len(crossing),
        most=MOST_ROWS,
        seconds=duration(numbers["seconds"]["total"]),
        files=("audit.json", *TABLES),
    )


def scores(numbers: Mapping[str, Any], titles: Mapping[str, str] = PROTOCOLS) -> Table:
    """Returns one row per baseline: its name, and AUROC and interval of each protocol."""
    rows = []
    for name, (title, _) in BASELINES.items():
        row: dict[str, Any] = {"baseline": title[:1].upper() + title[1:]}
        for protocol in titles:
            scored = numbers["protocols"][protocol].get("baselines")
            row[protocol] = DASH
            if scored:
                text, ends = score_cell(
                    scored[name] | {"value": scored[name]["auroc"]}, unknown=DASH
                )
                row[protocol] = text, "all alike" if scored[name]["all_alike"] else ends
        rows.append(row)
    return Table({"baseline": "Input", **titles}, rows)


def _table(
    columns: dict[str, str], rows: Sequence[Mapping[Hashable, Any]], texts: Sequence[str] = ()
) -> Table:
    """Returns a table of the first MOST_ROWS rows."""
    shown = [
        {key: row[key] if isinstance(row[key], str) else f"{row[key]:,}" for key in columns}
        for row in rows[:MOST_ROWS]
    ]
    return Table(columns, shown, texts)


def _size(name: str, result: Mapping[str, Any]) -> str:
    if "why_not" in result:
        return f"{name}: not scored; {result['why_not']}."
    sizes = [
        f"{result[split]['images']:,} images of {result[split]['patients']:,} patients in {split}"
        for split in ("train", "test")
    ]
    few = " Few patients of a class: the intervals rest more on assumption than on the images."
    left = f" {result['left_out']:,} images are left out, whose patients are in both."
    text = f"{name}: {', '.join(sizes)}."
    return text + few * bool(result["few_patients"]) + left * bool(result["left_out"])


def _saved(row: Mapping[str, Any]) -> dict[str, Any]:
    cells: dict[str, Any] = {"where": f"{row['source']}, {row['label']}"}
    cells["images"] = f"{row['images']:,}"
    for name in SIZES:
        low, middle, high = (
            decimal(value, digits=2) if name == "proportions" else f"{value:,}"
            for value in row[name]
        )
        cells[name] = (middle, "" if low == high else f"{low} to {high}")
    for name in KINDS:  # "95 (1,341), 75 (8)"; one kind stands alone
        most = list(row[name].items())[:MOST_KINDS]
        rest = row["images"] - sum(number for _, number in most)
        shown = [f"{kind} ({number:,})" for kind, number in most]
        shown += [f"others ({rest:,})"] * bool(rest)
        cells[name] = most[0][0] if len(row[name]) == 1 else ", ".join(shown)
    return cells


def _copies(numbers: Mapping[str, Any]) -> list[dict[Hashable, Any]]:
    same, near = numbers["identical"], numbers["near_identical"]
    return [
        {"what": "Identical bytes", "sets": same["sets"], "files": same["files"]} | same["across"],
        {"what": "Nearly identical", "sets": near["pairs"], "files": DASH} | near["across"],
    ]
