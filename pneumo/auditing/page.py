"""The audit as one self-contained page: no script, nothing loaded, pictures inline."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from pneumo.auditing import findings, saved
from pneumo.auditing.audit_folder import TABLES, Audit
from pneumo.auditing.shortcuts import BASELINES
from pneumo.labels import CLASS_NAMES, SUBTYPES
from pneumo.report.table import Row, Table
from pneumo.report.templates import page_template
from pneumo.report.wording import DASH, decimal, duration

TEMPLATE = "audit.html.j2"
MOST_ROWS = 60  # of a list on the page; the CSV files have all
PATIENT_KEYS = {
    "person": "by the number alone (as in random splits)",
    "split_person": "by the number within train or test (as in the set's own split)",
    "series": "by the number within train or test and bacteria or virus",
    "own": "by the data set, or each image its own",
}
COUNTS = {"source": "Source", "images": "Images", "patients": "Patients"}
COUNTS |= {name: name for name in (*CLASS_NAMES, *SUBTYPES[1:])}
SAVED = {
    "where": "Source, class",
    "images": "Images",
    "width": "Width",
    "height": "Height",
    "proportions": "Width / height",
    "bytes": "Bytes",
    "format": "Format",
    "mode": "Mode",
    "quality": "JPEG quality",
}
KINDS = ("format", "mode", "quality")
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


def html(audit: Audit) -> str:
    """Returns the page's text; names that come from the data set are escaped."""
    numbers = audit.numbers
    same = audit.tables["identical.csv"]
    crossing = same[same["across_patients"] | same["across_labels"]]
    protocols = numbers["protocols"]
    return page_template(TEMPLATE, package="pneumo.auditing").render(
        numbers=numbers,
        sentences=numbers["findings"],
        patients=[
            (number, PATIENT_KEYS[key]) for key, number in numbers["data"]["patients"].items()
        ],
        tables={
            "scores": Table({"baseline": "Input"} | PROTOCOLS, scores(numbers)),
            "counts": _table(COUNTS, numbers["counts"]),
            "copies": _table(ACROSS, _copies(numbers)),
            "saved": Table(SAVED, [_saved(row) for row in numbers["saved"]], texts=KINDS),
            "crossing": _table(CROSSING, crossing.to_dict("records"), texts=("path", "patient")),
            "nested": _table(NESTED, numbers["nested"]["copies"]),
            "unreadable": _table(UNREADABLE, numbers["unreadable"], texts=("why",)),
        },
        sizes=[_size(PROTOCOLS[name], result) for name, result in protocols.items()],
        pairs=audit.pairs,
        num_crossing=len(crossing),
        most=MOST_ROWS,
        seconds=duration(numbers["seconds"]["total"]),
        files=("audit.json", *TABLES),
    )


def _table(
    columns: dict[str, str], rows: Sequence[Mapping[Hashable, Any]], texts: Sequence[str] = ()
) -> Table:
    """Returns a table of the first MOST_ROWS rows."""
    shown = [
        {key: row[key] if isinstance(row[key], str) else f"{row[key]:,}" for key in columns}
        for row in rows[:MOST_ROWS]
    ]
    return Table(columns, shown, texts)


def scores(numbers: dict[str, Any]) -> list[dict[str, tuple[str, str]]]:
    """Returns a row a baseline: its name, and AUROC and interval of each protocol."""
    rows = []
    for name, (title, _) in BASELINES.items():
        row = {"baseline": (title[:1].upper() + title[1:], "")}
        for protocol, result in numbers["protocols"].items():
            scored = result.get("baselines")
            row[protocol] = findings.cell(scored[name]) if scored else (DASH, "")
        rows.append(row)
    return rows


def _size(name: str, result: dict[str, Any]) -> str:
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


def _saved(row: dict[str, Any]) -> Row:
    cells: dict[str, str | tuple[str, str]] = {
        "where": f"{row['source']}, {row['label']}",
        "images": f"{row['images']:,}",
    }
    for name in ("width", "height", "bytes", "proportions"):
        low, middle, high = (
            decimal(value, digits=2) if name == "proportions" else f"{value:,}"
            for value in row[name]
        )
        cells[name] = (middle, "" if low == high else f"{low} to {high}")
    return cells | {name: saved.kinds_text(row[name], row["images"]) for name in KINDS}


def _copies(numbers: dict[str, Any]) -> list[dict[Hashable, Any]]:
    same, near = numbers["identical"], numbers["near_identical"]
    return [
        {"what": "Identical bytes", "sets": same["sets"], "files": same["files"]} | same["across"],
        {"what": "Nearly identical", "sets": near["pairs"], "files": DASH} | near["across"],
    ]
