"""The audit as one self-contained page: no script, nothing loaded, pictures inline."""

from typing import Any

from pneumo.auditing import findings, saved
from pneumo.auditing.audit_folder import TABLES, Audit
from pneumo.auditing.shortcuts import BASELINES
from pneumo.labels import CLASS_NAMES, SUBTYPES
from pneumo.report.templates import page_template
from pneumo.report.wording import DASH, decimal, duration

TEMPLATE = "audit.html.j2"
MOST_ROWS = 60  # of a list on the page; the CSV files have all
PATIENT_KEYS = {
    "person": "by the number alone (as in random splits)",
    "split_person": "by the number within train or test (as in the set's own split)",
    "series": "by the number within train or test and bacteria or virus",
    "own": "as the data set tells, or each image its own",
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
    found = audit.found
    same = audit.tables["identical.csv"]
    text: str = page_template(TEMPLATE, package="pneumo.auditing").render(
        found=found,
        said=found["said"],
        counts=[_count(row) for row in found["counts"]],
        count_columns=COUNTS,
        patients=[(number, PATIENT_KEYS[key]) for key, number in found["data"]["patients"].items()],
        scores=scores(found),
        score_columns={"baseline": "What is seen"} | PROTOCOLS,
        sizes=[_size(PROTOCOLS[name], one) for name, one in found["protocols"].items()],
        saved=[_saved(row) for row in found["saved"]],
        saved_columns=SAVED,
        kinds=KINDS,
        copies=_copies(found),
        copy_columns=ACROSS,
        pairs=audit.pairs,
        crossing=same[same["across_patients"] | same["across_labels"]].to_dict("records"),
        most=MOST_ROWS,
        seconds=duration(found["seconds"]["total"]),
        files=("audit.json", *TABLES),
    )
    return text


def scores(found: dict[str, Any]) -> list[dict[str, tuple[str, str]]]:
    """Returns a row a baseline: its name, and AUROC and interval of each protocol."""
    rows = []
    for name, (told, _) in BASELINES.items():
        row = {"baseline": (told[:1].upper() + told[1:], "")}
        for protocol, one in found["protocols"].items():
            scored = one.get("baselines")
            row[protocol] = findings.cell(scored[name]) if scored else (DASH, "")
        rows.append(row)
    return rows


def _size(name: str, one: dict[str, Any]) -> str:
    if "why_not" in one:
        return f"{name}: not scored; {one['why_not']}."
    sizes = [
        f"{one[split]['images']:,} images of {one[split]['patients']:,} patients in {split}"
        for split in ("train", "test")
    ]
    few = " Few patients of a class: the intervals rest more on assumption than on the images."
    left = f" {one['left_out']:,} images are left out, whose patients are in both."
    told = f"{name}: {', '.join(sizes)}."
    return told + few * bool(one["few_patients"]) + left * bool(one["left_out"])


def _count(row: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {key: (row[key] if key == "source" else f"{row[key]:,}", "") for key in COUNTS}


def _saved(row: dict[str, Any]) -> dict[str, tuple[str, str]]:
    cells = {
        "where": (f"{row['source']}, {row['label']}", ""),
        "images": (f"{row['images']:,}", ""),
    }
    for name in ("width", "height", "bytes"):
        low, middle, high = row[name]
        cells[name] = (f"{middle:,}", "" if low == high else f"{low:,} to {high:,}")
    low, middle, high = row["proportions"]
    ends = "" if low == high else f"{decimal(low, digits=2)} to {decimal(high, digits=2)}"
    cells["proportions"] = (decimal(middle, digits=2), ends)
    return cells | {name: (saved.kinds_text(row[name], row["images"]), "") for name in KINDS}


def _copies(found: dict[str, Any]) -> list[dict[str, tuple[str, str]]]:
    same, near = found["identical"], found["near_identical"]
    rows = [
        {"what": "Identical bytes", "sets": f"{same['sets']:,}", "files": f"{same['files']:,}"},
        {"what": "Nearly identical", "sets": f"{near['pairs']:,}", "files": DASH},
    ]
    for row, one in zip(rows, (same, near), strict=True):
        row |= {name: f"{number:,}" for name, number in one["across"].items()}
    return [{name: (value, "") for name, value in row.items()} for row in rows]
