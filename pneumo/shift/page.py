"""A comparison of images as one self-contained page without script, and as lines of text."""

from collections.abc import Iterable, Mapping, Sequence
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
from pneumo.shift.sentences import by_size, sentences

SIDE = 224  # pixels of a picture
MOST_LINES = 8  # measures on a terminal; the page and the JSON have all
MOST_PATHS = 5  # files on a terminal
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
ON_TERMINAL = (  # columns of both tables
    {"space": "separated by", "group": "images", "auroc": "AUROC", "chance": "by chance"},
    {"title": "measure", "group": "images", "now": "here", "before": "run", "larger": "larger"},
)
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
        own: the assessment of the run's own test split; None if it is not to be compared.
    """
    shift = result["shift"]
    scores: list[Row] = []
    here = result.get("members", [None])[0]  # None of images without labels
    for name, title in SCORES.items() if here else ():
        row: dict[str, Any] = {"score": title}
        for key, assessed in {"here": here, "own": own}.items():
            score = assessed and (
                assessed["operating_point"].get(name) or assessed["scores"].get(name)
            )
            row[key] = score_cell(score, unknown=DASH)
        scores.append(row)
    return render_page(
        "shift.html.j2",
        package="pneumo.shift",
        name=root.resolve().name,
        result=result,
        shift=shift,
        sentences=sentences(shift),
        spaces=Table(SPACE_COLUMNS, _spaces(shift), texts=("group",)),
        measures=Table(MEASURE_COLUMNS, _measures(shift["measures"]), texts=("group",)),
        scores=Table(SCORE_COLUMNS, scores),
        farthest=[row | {"picture": picture(root / row["path"])} for row in shift["farthest"]],
        ordinary=[(path, picture(own_root / path)) for path in shift["ordinary"]],
    )


def lines(shift: Mapping[str, Any]) -> list[str]:
    """Returns the comparison for a terminal of 80 columns."""
    if "why_not" in shift:
        return [f"! not compared with the run's own images: {shift['why_not']}"]
    ours, here = shift["validation"], shift["here"]
    first, *others = sentences(shift)
    rows = _spaces(shift), _measures(by_size(shift["measures"])[:MOST_LINES])
    spaces, measures = (
        Table(columns | {"p": "p, Holm"}, of).text(first=26, others=11)
        for columns, of in zip(ON_TERMINAL, rows, strict=True)
    )
    larger = "(medians or shares; larger: share of pairs in which the value here is the larger one)"
    broken = [f"{row['path']}: {row['why']}" for row in shift["unreadable"]]
    farthest = [f"{r['path']} ({decimal(r['distance'], digits=2)})" for r in shift["farthest"][:3]]
    return [
        f"Against the run's {ours['images']:,} {shift['reference']} images of {ours['patients']:,} "
        f"patients ({here['images']:,} of {here['patients']:,} here):",
        f"! {first}" if shift["differ"] else first,
        *others,
        "",
        *spaces,
        *([*measures, larger] if rows[1] else []),
        *_paths("could not be read:", broken),
        *_paths("farthest (distance; 1 is the limit):", farthest),
    ]


def _paths(title: str, names: Sequence[str]) -> list[str]:
    more = [f"  and {len(names) - MOST_PATHS:,} more"] * (len(names) > MOST_PATHS)
    return [title, *(f"  {name}" for name in names[:MOST_PATHS]), *more] if names else []


def picture(path: Path) -> str:
    """Returns a small picture of an image file as a data URI, in its own proportions."""
    grey, _ = reader.decode(str(path))
    return data_uri(Image.fromarray(image.resize(grey, size=SIDE, aspect="pad")))


def _spaces(shift: Mapping[str, Any]) -> list[Row]:
    """A row for each test by a classifier."""
    groups = {row["group"]: row for row in shift["groups"]}
    rows: list[Row] = []
    for row in shift["spaces"]:
        group = groups[row["group"]]
        cells: dict[str, Any] = {"space": SPACES[row["space"]], "group": row["group"]}
        cells["patients"] = f"{group['here']:,}; {group['validation']:,}"
        if "why_not" in row:
            cells |= {"auroc": (DASH, row["why_not"]), "chance": DASH, "p": DASH}
        else:
            cells |= {key: decimal(row[key]) for key in ("auroc", "chance")}
            cells["p"] = p_value(row["p_holm"]), "differ" * row["differs"]
        rows.append(cells)
    return rows


def _measures(measures: Iterable[Mapping[str, Any]]) -> list[Row]:
    """A row for each measure; title, now and before are its name and medians alone."""
    rows: list[Row] = []
    for row in measures:
        digits = MEASURES[row["measure"]].digits
        cells: dict[str, Any] = {"group": row["group"], "title": row["title"]}
        cells["measure"] = row["title"], row["about"]
        for key, short in (("here", "now"), ("validation", "before")):
            low, middle, high = row[key]
            ends = interval(low, high, digits=digits, unknown="") if low != high else ""
            cells[short] = decimal(middle, digits=digits)
            cells[key] = cells[short], ends
        cells["larger"] = decimal(row["larger_here"], digits=2)
        p = p_value(row.get("p_holm", float("nan")))
        rows.append(cells | {"p": (p, "differ" * bool(row["differs"]))})
    return rows
