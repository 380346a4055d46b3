"""How many images there are, and how their files were saved, by class and source."""

from typing import Any

import pandas as pd

from pneumo.labels import CLASS_NAMES, SUBTYPES
from pneumo.report.wording import DASH

SHARED = ("format", "mode", "width", "height", "quality")  # of a header
MOST_KINDS = 4  # modes or qualities in a cell


def counts(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Returns images, patients and images of each label and subtype, by source and of all.

    Args:
        table: label, subtype, patient, source.
    """
    parts = [(str(name) or "no source", part) for name, part in table.groupby("source")]
    parts += [("all", table)] * (len(parts) > 1)
    return [
        {"source": name, "images": len(part), "patients": int(part["patient"].nunique())}
        | {label: int((part["label"] == label).sum()) for label in CLASS_NAMES}
        | {kind: int((part["subtype"] == kind).sum()) for kind in SUBTYPES[1:]}
        for name, part in parts
    ]


def how_saved(table: pd.DataFrame, facts: pd.DataFrame) -> list[dict[str, Any]]:
    """Returns a row for each source and class: sizes, proportions, formats, modes, qualities.

    Args:
        table: label, source; its index is the place in ``facts``.
        facts: of pneumo.auditing.files.
    """
    joined = table[["label", "source"]].join(facts)
    rows = []
    for (source, label), part in joined.groupby(["source", "label"]):
        row: dict[str, Any] = {
            "source": str(source) or "no source",
            "label": str(label),
            "images": len(part),
        }
        for name in ("width", "height", "bytes"):
            values = part[name]
            row[name] = [int(value) for value in (values.min(), values.median(), values.max())]
        quartiles = (part["width"] / part["height"]).quantile([0.25, 0.5, 0.75])
        row["proportions"] = [round(float(value), 3) for value in quartiles]
        for name in ("format", "mode", "quality"):
            kinds = part[name].replace("", DASH).value_counts()
            row[name] = {str(kind): int(number) for kind, number in kinds.items()}
        rows.append(row)
    return rows


def all_alike(facts: pd.DataFrame) -> bool:
    """Returns whether the headers of all files agree in size, mode, format and quality."""
    return bool((facts[list(SHARED)].nunique() == 1).all())


def kinds_text(kinds: dict[str, int], total: int) -> str:
    """Returns the words for modes or qualities: "95 (1,341), 75 (8)"; one kind stands alone."""
    if len(kinds) == 1:
        return next(iter(kinds))
    most = list(kinds.items())[:MOST_KINDS]
    rest = total - sum(number for _, number in most)
    shown = [f"{name} ({number:,})" for name, number in most]
    return ", ".join([*shown, *[f"others ({rest:,})"] * bool(rest)])
