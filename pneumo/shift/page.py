"""A comparison of images as one self-contained page: no script, nothing loaded, pictures inline."""

import base64
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from pneumo.data import image, reader
from pneumo.evaluation.scores import SCORES as ALL_SCORES
from pneumo.report.templates import page_template
from pneumo.report.wording import DASH, decimal, interval, p_value
from pneumo.shift.compare import SPACES
from pneumo.shift.sample import MEASURES
from pneumo.shift.sentences import sentences

TEMPLATE = "shift.html.j2"
SIDE = 224  # pixels of a picture
SPACE_COLUMNS = {
    "space": "Separated by",
    "group": "Images",
    "patients": "Patients here; the run's",
    "auroc": "AUROC",
    "chance": "By chance up to",
    "p": "p, Holm",
}
MEASURE_COLUMNS = {
    "measure": "Measure",
    "group": "Images",
    "here": "Here",
    "validation": "The run's",
    "larger": "Larger here",
    "p": "p, Holm",
}
SCORE_COLUMNS = {"score": "Score", "here": "These images", "own": "The run's test split"}
SCORES = {
    "auroc": ALL_SCORES["auroc"].heading,
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
} | {name: f"{ALL_SCORES[name].heading}, at 0.5" for name in ("accuracy", "f1_normal")}
Row = dict[str, tuple[str, str]]  # a cell: its text, and smaller text beneath


def html(
    result: Mapping[str, Any], *, root: Path, own_root: Path, own: Mapping[str, Any] | None
) -> str:
    """Returns the page's text; names that come from the images are escaped.

    Args:
        result: of evaluate, of one run, with the key shift.
        root: of these images.
        own_root: of the run's images.
        own: the assessment of the run's own test split; None if the images have no labels.
    """
    shift = result["shift"]
    groups = {row["group"]: row for row in shift["groups"]}
    text: str = page_template(TEMPLATE, package="pneumo.shift").render(
        name=root.resolve().name,
        result=result,
        shift=shift,
        sentences=sentences(shift),
        spaces=[_space(row, groups[row["group"]]) for row in shift["spaces"]],
        space_columns=SPACE_COLUMNS,
        measures=[_measure(row) for row in shift["measures"]],
        measure_columns=MEASURE_COLUMNS,
        scores=_scores(result["members"][0], own) if own else [],
        score_columns=SCORE_COLUMNS,
        farthest=[row | {"picture": picture(root / row["path"])} for row in shift["farthest"]],
        ordinary=[(path, picture(own_root / path)) for path in shift["ordinary"]],
    )
    return text


def picture(path: Path) -> str:
    """Returns a small picture of an image file as a data URI, in its own proportions."""
    grey, _ = reader.decode(str(path))
    return data_uri(Image.fromarray(image.resize(grey, size=SIDE, aspect="pad")))


def data_uri(shown: Image.Image) -> str:
    """Returns a picture as the data URI of a JPEG."""
    file = io.BytesIO()
    shown.save(file, "JPEG", quality=80, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def _space(row: Mapping[str, Any], group: Mapping[str, Any]) -> Row:
    title = SPACES[row["space"]]
    cells = {
        "space": (title[:1].upper() + title[1:], ""),
        "group": (row["group"], ""),
        "patients": (f"{group['here']:,}; {group['validation']:,}", ""),
    }
    if "why_not" in row:
        return cells | {"auroc": (DASH, row["why_not"]), "chance": (DASH, ""), "p": (DASH, "")}
    return cells | {
        "auroc": (decimal(row["auroc"]), ""),
        "chance": (decimal(row["chance"]), ""),
        "p": (p_value(row["p_holm"]), "differ" * row["differs"]),
    }


def _measure(row: Mapping[str, Any]) -> Row:
    digits = MEASURES[row["measure"]].digits
    cells = {"measure": (row["title"], row["about"]), "group": (row["group"], "")}
    for name in ("here", "validation"):
        low, middle, high = row[name]
        ends = "" if low == high else interval(low, high, digits=digits)
        cells[name] = (decimal(middle, digits=digits), "" if ends == DASH else ends)
    p = row.get("p_holm", float("nan"))
    cells["larger"] = (decimal(row["larger_here"], digits=2), "")
    return cells | {"p": (p_value(p), "differ" * bool(row["differs"]))}


def _scores(here: Mapping[str, Any], own: Mapping[str, Any]) -> list[Row]:
    rows = []
    for name, title in SCORES.items():
        row = {"score": (title, "")}
        for key, assessed in (("here", here), ("own", own)):
            score = assessed["operating_point"].get(name) or assessed["scores"].get(name)
            values = [score[part] for part in ("value", "low", "high")]
            value, low, high = (float("nan") if v is None else v for v in values)
            row[key] = (decimal(value), interval(low, high))
        rows.append(row)
    return rows
