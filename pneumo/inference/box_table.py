"""What detectors say of images, as a table of boxes, JSON lines, or the challenge's strings."""

import csv
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from pneumo.data import reader
from pneumo.data.boxes import SIDES
from pneumo.data.dicom_header import IDS
from pneumo.evaluation.metrics import Array
from pneumo.runs import output

RSNA = "rsna"  # the format of the challenge's submissions
RSNA_COLUMNS = ["patientId", "PredictionString"]
OF_BOX = ["score", *SIDES]
DIGITS = 4  # of a score and a pixel in the challenge's string
PIXEL_DIGITS = 2  # of a box's sides elsewhere

Write = Callable[[dict[str, Any]], None]


def box(sides: Array, score: float) -> dict[str, float]:
    """Returns a box by name: score, and its sides (4,) in pixels."""
    rounded = sides.round(PIXEL_DIGITS).tolist()
    return {"score": score, **dict(zip(SIDES, rounded, strict=True))}


def prediction_string(boxes: Sequence[Mapping[str, float]]) -> str:
    """Returns boxes as the challenge has them: confidence x y width height, one after the other.

    >>> prediction_string([{"score": 0.9, "x_min": 10, "y_min": 20, "x_max": 40, "y_max": 25.5}])
    '0.9 10 20 30 5.5'
    """
    numbers = [
        (
            one["score"],
            *(one["x_min"], one["y_min"]),
            *(one["x_max"] - one["x_min"], one["y_max"] - one["y_min"]),
        )
        for one in boxes
    ]
    return " ".join(f"{round(number, DIGITS):g}" for box in numbers for number in box)


def writer(file: TextIO, *, form: str, overlays: bool, ids: bool = False) -> Write:
    """Returns a function that writes what is said of one image, a row of Detectors.rows.

    Args:
        file: that it is written to.
        form: csv, jsonl or rsna.
        overlays: whether the rows have the key overlay.
        ids: whether they have those of pneumo.data.dicom_header.IDS.
    """
    if form == "jsonl":
        return lambda row: _line(file, json.dumps(row, allow_nan=False))
    columns = [
        "path",
        *(IDS if ids else ()),
        "boxes",
        *OF_BOX,
        "threshold",
        "threshold_from",
        "ood",
        "ood_reason",
    ]
    columns += [*(["overlay"] * overlays), "error"]
    table = csv.DictWriter(file, RSNA_COLUMNS if form == RSNA else columns, lineterminator="\n")
    table.writeheader()

    def write(cells: Mapping[str, Any]) -> None:
        table.writerow({name: output.spreadsheet_safe(value) for name, value in cells.items()})

    def write_rsna(row: dict[str, Any]) -> None:
        if row["error"]:  # an empty string would say that there is nothing
            sys.stderr.write(f"note: no row of {row['path']}: {row['error']}\n")
            return
        write(dict(zip(RSNA_COLUMNS, (_patient(row["path"]), _string(row)), strict=True)))

    def write_boxes(row: dict[str, Any]) -> None:
        found = row["boxes"]
        flag = None if row["ood"] is None else str(row["ood"]).lower()
        common = {**row, "boxes": None if found is None else len(found), "ood": flag}
        for box in found or [{}]:  # an image without one has a row, too
            write(common | box)

    return write_rsna if form == RSNA else write_boxes


def _line(file: TextIO, text: str) -> None:
    file.write(text + "\n")


def _string(row: Mapping[str, Any]) -> str:
    return prediction_string(row["boxes"])


def _patient(name: str) -> str:
    """The challenge's files are named by their patients."""
    return Path(name).stem


def check_patients(names: Sequence[str]) -> None:
    """Raises ValueError where images would not be patients of their own in the challenge."""
    patients: dict[str, str] = {}
    for name in names:
        other = patients.get(_patient(name))
        patients[_patient(name)] = name
        if other == name:
            raise ValueError(
                f"--format rsna has a row a patient; {name} is named twice. Name it once"
            )
        if name == reader.STANDARD_INPUT or other:
            told = "standard input" if name == reader.STANDARD_INPUT else f"{other} and {name}"
            raise ValueError(
                "--format rsna has a row a patient, named by the file without its ending; "
                f"{told} would have none of its own. Use csv or jsonl, or rename"
            )
