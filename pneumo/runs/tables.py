"""The tables of a run folder, read and checked: split.csv, predictions.csv and boxes.csv."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pneumo import untrusted
from pneumo.data.boxes import KINDS, SIDES, TRUTH
from pneumo.labels import CLASS_NAMES
from pneumo.runs.metrics import COPY_AGAIN

PREDICTED = ["path", "patient", "label", "split", "p_pneumonia"]
BOX_COLUMNS = ["path", "patient", "split", "kind", "score", *SIDES]  # pixels of the original image


def read_csv(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Returns these columns of a table of a run folder, or of its packed form, as text.

    Raises:
        FileNotFoundError: the table is missing.
        ValueError: it is broken or truncated, or lacks one of ``columns``.
    """
    packed = path.with_name(f"{path.name}.gz")
    try:
        data = untrusted.read_bytes(
            packed if packed.exists() and not path.exists() else path, limit=untrusted.MAX_TABLE
        )
    except FileNotFoundError:
        raise FileNotFoundError(f"a finished run has {path.name}; there is no {path}") from None
    try:
        table = pd.read_csv(
            io.BytesIO(data), usecols=list(columns), keep_default_na=False, dtype=str
        )
        if not data.endswith(b"\n"):  # half a number would be read as a number
            raise ValueError("its last line is truncated")
    except ValueError as error:
        raise ValueError(
            f"{path} must be a table with the columns {', '.join(columns)}; it is broken: {error}. "
            f"{COPY_AGAIN}"
        ) from None
    return table[list(columns)]


def read_images(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Returns split.csv or predictions.csv as text, a row for each image.

    Raises:
        FileNotFoundError, ValueError: see read_csv; or it holds another label, a path twice, or
            a path that leads out of the folder of the images.
    """
    table = read_csv(path, columns)
    if not table["label"].isin(CLASS_NAMES).all() or table["path"].duplicated().any():
        raise ValueError(
            f"{path} must have a row for each image; it holds other labels, or a path twice"
        )
    if outside := list(filter(untrusted.leads_out, table["path"])):
        raise ValueError(
            f"the paths in {path} must lead to images within their folder; got {outside[0]!r}"
        )
    return table


def predictions(table: pd.DataFrame, rows: Any, **probabilities: Any) -> pd.DataFrame:
    """Returns predictions.csv: ``rows`` of a split table, sorted by path.

    Its patient is split.csv's group, so that patients who share an image count as one.

    Args:
        table: path, group, label, split.
        rows: (N,) of its index.
        probabilities: (N,) float64 of each column such as p_pneumonia.
    """
    images = table.assign(patient=table["group"])[["path", "patient", "label", "split"]]
    chosen: pd.DataFrame = images.loc[rows].assign(**probabilities)
    return chosen.sort_values("path")


def read_predictions(path: Path) -> pd.DataFrame:
    """Returns predictions.csv, sorted by path: PREDICTED, p_pneumonia float64 from 0 to 1.

    Raises:
        FileNotFoundError, ValueError: see read_images; or a probability is not from 0 to 1.
    """
    table = read_images(path, PREDICTED).sort_values("path", ignore_index=True)
    probability = pd.to_numeric(table["p_pneumonia"], errors="coerce").astype(np.float64)
    if not probability.between(0, 1).all():
        raise ValueError(f"{path} must hold probabilities from 0 to 1. {COPY_AGAIN}")
    return table.assign(p_pneumonia=probability)


@dataclass(frozen=True)
class ImageBoxes:
    """True and predicted boxes of N images; boxes are (K, 4) in pixels, scores (K,)."""

    images: pd.DataFrame  # path, patient, label, split; sorted by path
    truth: list[np.ndarray]
    predicted: list[np.ndarray]
    scores: list[np.ndarray]

    def only(self, mask: np.ndarray) -> "ImageBoxes":
        """Returns the images where mask (N,) is true."""
        index = np.flatnonzero(mask)
        lists = ([each[i] for i in index] for each in (self.truth, self.predicted, self.scores))
        return ImageBoxes(self.images.iloc[index].reset_index(drop=True), *lists)

    def of_split(self, split: str) -> "ImageBoxes":
        """Returns the images of one split."""
        return self.only((self.images["split"] == split).to_numpy())


def read_boxes(path: Path, images: pd.DataFrame) -> ImageBoxes:
    """Returns boxes.csv image by image; ``images`` are the rows of read_predictions.

    Raises:
        FileNotFoundError, ValueError: see read_csv; or a box has no area, a score is not from 0
            to 1, or the boxes do not fit the images.
    """
    table = read_csv(path, BOX_COLUMNS)
    numbers = ["score", *SIDES]
    table[numbers] = table[numbers].apply(pd.to_numeric, errors="coerce").astype(np.float64)
    corners, keys = table[SIDES].to_numpy(), ["path", "split"]
    rules: dict[str, Any] = {
        "images of predictions.csv": table.set_index(keys).index.isin(images.set_index(keys).index),
        "kind truth or predicted": table["kind"].isin(KINDS),
        "numbers with x_min < x_max and y_min < y_max": (corners[:, 2:] > corners[:, :2]).all(1),
        "a score from 0 to 1 of each predicted box": (
            (table["kind"] == TRUTH) | table["score"].between(0, 1)
        ),
    }
    for rule, kept in rules.items():
        if not kept.all():
            line = int(np.argmin(kept)) + 2  # the header is line 1
            raise ValueError(f"{path} must hold {rule}; line {line} does not. {COPY_AGAIN}")
    rows = {kind: dict(list(table[table["kind"] == kind].groupby("path"))) for kind in KINDS}
    truth, predicted = (
        [rows[kind].get(name, table[:0])[numbers].to_numpy() for name in images["path"]]
        for kind in KINDS
    )
    return ImageBoxes(
        images,
        [each[:, 1:] for each in truth],
        [each[:, 1:] for each in predicted],
        [each[:, 0] for each in predicted],
    )


def same_truth(parts: Sequence[ImageBoxes]) -> bool:
    """Returns whether the same images in the same order have the same true boxes."""
    first = parts[0]
    return all(
        a.shape == b.shape and np.allclose(a, b, atol=0.01)
        for other in parts[1:]
        for a, b in zip(first.truth, other.truth, strict=True)
    )
