"""A finished detector's boxes: boxes.csv beside predictions.csv, read and checked. No torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pneumo import untrusted
from pneumo.evaluation.metrics import Array
from pneumo.labels import CLASS_NAMES
from pneumo.runs import run_folder
from pneumo.runs.finished import read_csv, read_metrics, read_table

if TYPE_CHECKING:  # half a second that a report without detectors need not wait for
    import pandas as pd

KINDS = ("truth", "predicted")
CORNERS = ["x_min", "y_min", "x_max", "y_max"]  # pixels of the original image
COLUMNS = ["path", "patient", "split", "kind", "score", *CORNERS]
AGREES = 1e-3  # of predictions.csv's probability and the highest score, for rounding
ANEW = "Take the run folder anew from where it was trained"


@dataclass(frozen=True)
class ImageBoxes:
    """True and predicted boxes of N images; boxes are (K, 4) in pixels, scores (K,)."""

    images: "pd.DataFrame"  # path, patient, label, split; sorted by path
    truth: list[Array]
    predicted: list[Array]
    scores: list[Array]

    def only(self, mask: Array) -> "ImageBoxes":
        """The images where mask (N,) is true."""
        index = np.flatnonzero(mask)
        lists = ([each[i] for i in index] for each in (self.truth, self.predicted, self.scores))
        return ImageBoxes(self.images.iloc[index].reset_index(drop=True), *lists)

    def of_split(self, split: str) -> "ImageBoxes":
        """The images of one split."""
        return self.only((self.images["split"] == split).to_numpy())


@dataclass(frozen=True)
class DetectionRun:
    """A finished detector."""

    name: str
    run_dir: Path
    metrics: dict[str, Any]
    boxes: ImageBoxes  # of the validation and test split

    @property
    def confidence(self) -> float:
        """What the run fixed on its validation split: a box counts from this score on."""
        return float(self.metrics["confidence"])


def is_detection(run_dir: Path) -> bool:
    """Returns whether a folder holds a finished detector; no content of it raises."""
    try:
        return run_folder.of_detector(untrusted.read_json(run_dir / "metrics.json"))
    except (OSError, ValueError):
        return False


def are_detectors(run_dirs: Sequence[Path]) -> bool:
    """Whether all of the runs are detectors; ValueError where only some are."""
    kinds = [is_detection(run_dir) for run_dir in run_dirs]
    if any(kinds) and not all(kinds):
        raise ValueError(
            f"runs must be of one task; {run_dirs[kinds.index(True)]} is a detector and "
            f"{run_dirs[kinds.index(False)]} is not. Name them one by one"
        )
    return all(kinds)


def refuse(run_dir: Path, rule: str) -> None:
    """Raises ValueError where a run is a detector, which a command cannot take; says what can."""
    if is_detection(run_dir):
        raise ValueError(
            f"{rule}; {run_dir} is a detector. Its boxes: python -m pneumo.predict {run_dir} "
            f"IMAGE --overlays DIR; its scores: python -m pneumo.evaluate {run_dir}"
        )


def confidence_of(metrics: Mapping[str, Any], run_dir: Path) -> float:
    """Returns the confidence that a run fixed on validation; ValueError where it says none."""
    confidence: Any = metrics.get("confidence")
    number = isinstance(confidence, int | float) and not isinstance(confidence, bool)
    if number and 0 <= confidence <= 1:
        return float(confidence)
    raise ValueError(
        f"{run_dir / 'metrics.json'} must say the confidence fixed on validation, from 0 to 1; it "
        f"says {confidence!r}. {ANEW}"
    )


def read(run_dir: Path, *, name: str) -> DetectionRun:
    """Returns a finished detector's tables.

    Raises:
        FileNotFoundError: the run is not finished, or a table is missing.
        ValueError: a table is broken, or the two do not fit.
    """
    metrics = read_metrics(run_dir)
    confidence_of(metrics, run_dir)
    columns = ["path", "patient", "label", "split", "p_pneumonia"]
    images = read_table(run_dir / "predictions.csv", columns, labels=CLASS_NAMES)
    images = images[columns].sort_values("path", ignore_index=True)
    boxes = _by_image(_read_boxes(run_dir / "boxes.csv"), images, path=run_dir / "boxes.csv")
    _check_agreement(boxes, run_dir)
    return DetectionRun(name, run_dir, metrics, boxes)


def _read_boxes(path: Path) -> "pd.DataFrame":
    """boxes.csv with numbers as float64, score NaN of true boxes."""
    import pandas as pd

    table = read_csv(path, COLUMNS, kind="detector", row="box")
    numbers = ["score", *CORNERS]
    table[numbers] = table[numbers].apply(pd.to_numeric, errors="coerce").astype(np.float64)
    _check(table, path)
    return table


def _check(table: "pd.DataFrame", path: Path) -> None:
    true, predicted = (table["kind"] == kind for kind in KINDS)
    corners = table[CORNERS].to_numpy()
    area = np.isfinite(corners).all(1) & (corners[:, 2:] > corners[:, :2]).all(1)
    rules = {
        "kind truth or predicted": true | predicted,
        "numbers with x_min < x_max and y_min < y_max": area,
        "a score from 0 to 1 of each predicted box": true | table["score"].between(0, 1),
    }
    for rule, kept in rules.items():
        if not kept.all():
            row = int(np.argmin(kept)) + 2  # the header is line 1
            raise ValueError(f"{path} must hold {rule}; line {row} does not. {ANEW}")


def _by_image(table: "pd.DataFrame", images: "pd.DataFrame", *, path: Path) -> ImageBoxes:
    known = table.merge(images[["path", "split"]], on=["path", "split"])
    if len(known) != len(table):
        raise ValueError(f"{path} must be of the images in predictions.csv, split by split. {ANEW}")
    rows = {kind: table[table["kind"] == kind].groupby("path") for kind in KINDS}
    truth, predicted, scores = [], [], []
    none = table.iloc[:0]
    for name in images["path"]:
        true, found = (
            group.get_group(name) if name in group.indices else none for group in rows.values()
        )
        truth.append(true[CORNERS].to_numpy(np.float64))
        predicted.append(found[CORNERS].to_numpy(np.float64))
        scores.append(found["score"].to_numpy(np.float64))
    return ImageBoxes(images, truth, predicted, scores)


def _check_agreement(boxes: ImageBoxes, run_dir: Path) -> None:
    highest = np.array([score.max(initial=0.0) for score in boxes.scores])
    written = boxes.images["p_pneumonia"].replace("", "nan").astype(float).to_numpy()
    wrong = ~(np.abs(highest - written) <= AGREES)
    if wrong.any():
        at = int(np.argmax(wrong))
        raise ValueError(
            f"p_pneumonia in {run_dir / 'predictions.csv'} must be the highest score of the "
            f"image's boxes in boxes.csv; of {boxes.images['path'][at]} it is {written[at]:.4f} "
            f"and not {highest[at]:.4f}. {ANEW}"
        )


def same_truth(parts: Sequence[ImageBoxes]) -> bool:
    """Whether the same images in the same order have the same true boxes."""
    first = parts[0]
    return all(
        a.shape == b.shape and np.allclose(a, b, atol=0.01)
        for other in parts[1:]
        for a, b in zip(first.truth, other.truth, strict=True)
    )
