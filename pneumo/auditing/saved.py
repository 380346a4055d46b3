"""How many images there are, and how their files were saved, by class and source."""

from typing import Any

import pandas as pd

from pneumo.labels import CLASS_NAMES, SUBTYPES
from pneumo.report.wording import DASH

SHARED = ("format", "mode", "width", "height", "quality")  # what a header says
MOST_KINDS = 4  # of modes or qualities in a cell


def counts(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Returns images, patients and images of each label and subtype, by source and of all.

    Args:
        table: label, subtype, patient, source.
    """
    rows = [_count(str(name) or "no source", part) for name, part in table.groupby("source")]
    return rows if len(rows) == 1 else [*rows, _count("all", table)]


def _count(name: str, part: pd.DataFrame) -> dict[str, Any]:
    of_label = {label: int((part["label"] == label).sum()) for label in CLASS_NAMES}
    of_subtype = {kind: int((part["subtype"] == kind).sum()) for kind in SUBTYPES[1:]}
    patients = int(part["patient"].nunique())
    return {"source": name, "images": len(part), "patients": patients} | of_label | of_subtype


def how_saved(table: pd.DataFrame, facts: pd.DataFrame) -> list[dict[str, Any]]:
    """Returns sizes, proportions, modes and JPEG quality of each source and label.

    Args:
        table: label and source; its index is the row in ``facts``.
        facts: of pneumo.auditing.files.Files.
    """
    joined = table[["label", "source"]].join(facts)
    groups = joined.groupby(["source", "label"])
    return [_saved(str(source), str(label), rows) for (source, label), rows in groups]


def _saved(source: str, label: str, rows: pd.DataFrame) -> dict[str, Any]:
    quartiles = (rows["width"] / rows["height"]).quantile([0.25, 0.5, 0.75])
    return {
        "source": source or "no source",
        "label": label,
        "images": len(rows),
        **{name: _spread(rows[name]) for name in ("width", "height", "bytes")},
        "proportions": [round(float(value), 3) for value in quartiles],
        **{name: _kinds(rows[name]) for name in ("format", "mode", "quality")},
    }


def _spread(values: "pd.Series[int]") -> list[int]:
    """Smallest, median, largest."""
    return [int(value) for value in (values.min(), values.median(), values.max())]


def _kinds(values: "pd.Series[str]") -> dict[str, int]:
    counted = values.replace("", DASH).value_counts()
    return {str(name): int(number) for name, number in counted.items()}


def all_alike(facts: pd.DataFrame) -> bool:
    """Whether the headers of all files agree in size, mode, format and quality."""
    return bool((facts[list(SHARED)].nunique() == 1).all())


def kinds_text(kinds: dict[str, int], total: int) -> str:
    """The words for modes or qualities: "95 (1,341), 75 (8)"; one kind stands alone."""
    if len(kinds) == 1:
        return next(iter(kinds))
    shown = [f"{name} ({number:,})" for name, number in list(kinds.items())[:MOST_KINDS]]
    rest = total - sum(list(kinds.values())[:MOST_KINDS])
    return ", ".join(shown) + (f", others ({rest:,})" if rest else "")
