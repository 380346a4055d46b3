"""The boxes of detectors as CSV, JSON lines, or the submission format of the RSNA challenge."""

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from pneumo.data import reader
from pneumo.data.boxes import SIDES
from pneumo.data.dicom_header import IDS
from pneumo.evaluation.metrics import Array
from pneumo.inference.prediction import Row, Write, csv_writer, json_writer

RSNA = "rsna"  # the format of the challenge's submissions
RSNA_COLUMNS = ["patientId", "PredictionString"]
DIGITS = 4  # of a score and a pixel in the challenge's string
PIXEL_DIGITS = 2  # of a box's sides elsewhere


def box(sides: Array, score: float) -> dict[str, float]:
    """Returns a box by name: score, and its sides (4,) in pixels."""
    rounded = sides.round(PIXEL_DIGITS).tolist()
    return {"score": score, **dict(zip(SIDES, rounded, strict=True))}


def prediction_string(boxes: Sequence[Mapping[str, float]]) -> str:
    """Returns the challenge's string: confidence x y width height of each box.

    >>> prediction_string([{"score": 0.9, "x_min": 10, "y_min": 20, "x_max": 40, "y_max": 25.5}])
    '0.9 10 20 30 5.5'
    """
    numbers = [
        (
            *(box["score"], box["x_min"], box["y_min"]),
            *(box["x_max"] - box["x_min"], box["y_max"] - box["y_min"]),
        )
        for box in boxes
    ]
    return " ".join(f"{round(number, DIGITS):g}" for values in numbers for number in values)


def box_writer(file: TextIO, *, form: str, overlays: bool, ids: bool = False) -> Write:
    """Returns a function that writes a row of Detectors.rows.

    Args:
        file: to write to.
        form: csv (a row a box), jsonl or rsna.
        overlays: whether the rows have the key overlay.
        ids: whether they have the identifiers of pneumo.data.dicom_header.IDS.
    """
    if form == "jsonl":
        return json_writer(file)
    if form == RSNA:
        return _rsna_writer(csv_writer(file, RSNA_COLUMNS))
    columns = ["path", *(IDS if ids else ()), "boxes", "score", *SIDES]
    columns += ["threshold", "threshold_from", "ood", "ood_reason"]
    write_csv = csv_writer(file, [*columns, *(["overlay"] * overlays), "error"])

    def write(row: Row) -> None:
        boxes = row["boxes"]
        common = {**row, "boxes": None if boxes is None else len(boxes)}
        for box in boxes or [{}]:  # an image without a box has a row, too
            write_csv(common | box)

    return write


def _rsna_writer(write_csv: Write) -> Write:
    def write(row: dict[str, Any]) -> None:
        if row["error"]:  # an empty string would mean that there is no box
            sys.stderr.write(f"note: no row of {row['path']}: {row['error']}\n")
            return
        values = (Path(row["path"]).stem, prediction_string(row["boxes"]))
        write_csv(dict(zip(RSNA_COLUMNS, values, strict=True)))

    return write


def check_patients(names: Sequence[str]) -> None:
    """Raises ValueError unless each image is a patient of its own, named by the file's stem."""
    times = Counter(Path(name).stem for name in names)
    for name in names:
        if name == reader.STANDARD_INPUT or times[Path(name).stem] > 1:
            raise ValueError(
                "--format rsna has a row a patient, named by the file without its ending; "
                f"{name} has no name of its own. Name each patient once, or use csv or jsonl"
            )
