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
from pneumo.shift import said
from pneumo.shift.compare import SPACES
from pneumo.shift.sample import MEASURES

TEMPLATE = "shift.html.j2"
SIDE = 224  # pixels of a picture
SPACE_COLUMNS = {
    "space": "Told apart by",
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
    "before": "The run's",
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
    found: Mapping[str, Any], *, root: Path, own_root: Path, own: Mapping[str, Any] | None
) -> str:
    """Returns the page's text; names that come from the images are escaped.

    Args:
        found: of evaluate, of one run, with the key shift.
        root: of these images.
        own_root: of the run's images.
        own: the assessment of the run's own test split; None where the images have no labels.
    """
    shift = found["shift"]
    text: str = page_template(TEMPLATE, package="pneumo.shift").render(
        found=found,
        shift=shift,
        said=said.sentences(shift),
        spaces=[_space(row, shift) for row in shift["spaces"]],
        space_columns=SPACE_COLUMNS,
        measures=[_measure(row) for row in shift["measures"]],
        measure_columns=MEASURE_COLUMNS,
        about={one.title: one.about for one in MEASURES.values()},
        scores=_scores(found["members"][0], own) if own else [],
        score_columns=SCORE_COLUMNS,
        farthest=[one | {"picture": picture(root / one["path"])} for one in shift["farthest"]],
        ordinary=[(path, picture(own_root / path)) for path in shift["ordinary"]],
    )
    return text


def picture(path: Path) -> str:
    """Returns a small picture of an image file as a data URI, in its own proportions."""
    grey, _ = reader.decode(str(path))
    small = Image.fromarray(image.resize(grey, size=SIDE, aspect="pad"))
    file = io.BytesIO()
    small.save(file, "JPEG", quality=80, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def _space(row: Mapping[str, Any], shift: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    group = next(one for one in shift["groups"] if one["group"] == row["group"])
    what = SPACES[row["space"]]
    cells = {
        "space": (what[:1].upper() + what[1:], ""),
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


def _measure(row: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    digits = MEASURES[row["measure"]].digits
    cells = {"measure": (row["title"], row["about"]), "group": (row["group"], "")}
    for name, key in (("here", "here"), ("before", "validation")):
        low, middle, high = row[key]
        ends = "" if low == high else interval(low, high, digits=digits)
        cells[name] = (decimal(middle, digits=digits), "" if ends == DASH else ends)
    p = row.get("p_holm", float("nan"))
    cells["larger"] = (decimal(row["larger_here"], digits=2), "")
    return cells | {"p": (p_value(p), "differ" * bool(row["differs"]))}


def _scores(here: Mapping[str, Any], own: Mapping[str, Any]) -> list[dict[str, tuple[str, str]]]:
    rows = []
    for name, title in SCORES.items():
        row = {"score": (title, "")}
        for key, one in (("here", here), ("own", own)):
            known = one["operating_point"].get(name) or one["scores"].get(name)
            value, *ends = (float("nan") if v is None else v for v in _numbers(known))
            row[key] = (decimal(value), interval(*ends))
        rows.append(row)
    return rows


def _numbers(known: Mapping[str, float | None]) -> tuple[float | None, ...]:
    return known["value"], known["low"], known["high"]
