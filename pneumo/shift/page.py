"""A comparison of images as one self-contained page: no script, nothing loaded, pictures inline."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from pneumo.data import image, reader
from pneumo.evaluation.scores import SCORES as ALL_SCORES
from pneumo.report.table import Row, Table
from pneumo.report.templates import data_uri, render_page
from pneumo.report.wording import DASH, decimal, interval, p_value, score_cell
from pneumo.shift.compare import SPACES
from pneumo.shift.sample import MEASURES
from pneumo.shift.sentences import sentences

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
    spaces: list[Row] = [_space(row, groups[row["group"]]) for row in shift["spaces"]]
    scores: list[Row] = []
    for name, title in SCORES.items() if own else ():
        row: dict[str, Any] = {"score": title}
        assessments: dict[str, Any] = {"here": result["members"][0], "own": own}
        for key, assessed in assessments.items():
            score = assessed["operating_point"].get(name) or assessed["scores"].get(name)
            row[key] = score_cell(score, unknown=DASH)
        scores.append(row)
    return render_page(
        "shift.html.j2",
        package="pneumo.shift",
        name=root.resolve().name,
        result=result,
        shift=shift,
        sentences=sentences(shift),
        spaces=Table(SPACE_COLUMNS, spaces, texts=("group",)),
        measures=Table(MEASURE_COLUMNS, list(map(_measure, shift["measures"])), texts=("group",)),
        scores=Table(SCORE_COLUMNS, scores),
        farthest=[row | {"picture": picture(root / row["path"])} for row in shift["farthest"]],
        ordinary=[(path, picture(own_root / path)) for path in shift["ordinary"]],
    )


def picture(path: Path) -> str:
    """Returns a small picture of an image file as a data URI, in its own proportions."""
    grey, _ = reader.decode(str(path))
    return data_uri(Image.fromarray(image.resize(grey, size=SIDE, aspect="pad")))


def _space(row: Mapping[str, Any], group: Mapping[str, Any]) -> Row:
    title = SPACES[row["space"]]
    cells: dict[str, Any] = {"space": title[:1].upper() + title[1:], "group": row["group"]}
    cells["patients"] = f"{group['here']:,}; {group['validation']:,}"
    if "why_not" in row:
        return cells | {"auroc": (DASH, row["why_not"]), "chance": DASH, "p": DASH}
    cells |= {"auroc": decimal(row["auroc"]), "chance": decimal(row["chance"])}
    return cells | {"p": (p_value(row["p_holm"]), "differ" * row["differs"])}


def _measure(row: Mapping[str, Any]) -> Row:
    digits = MEASURES[row["measure"]].digits
    cells: dict[str, Any] = {"measure": (row["title"], row["about"]), "group": row["group"]}
    for name in ("here", "validation"):
        low, middle, high = row[name]
        ends = interval(low, high, digits=digits, unknown="") if low != high else ""
        cells[name] = decimal(middle, digits=digits), ends
    cells["larger"] = decimal(row["larger_here"], digits=2)
    p = p_value(row.get("p_holm", float("nan")))
    return cells | {"p": (p, "differ" * bool(row["differs"]))}
