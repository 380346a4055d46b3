"""Boxes around opacities: tables of them, and conversion between a file's and an image's pixels.

A box is x_min, y_min, x_max, y_max in pixels; the boxes of an image are float64 (N, 4).
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from pneumo.data import image

SIDES = ["x_min", "y_min", "x_max", "y_max"]
KINDS = TRUTH, PREDICTED = ("truth", "predicted")  # in boxes.csv of a run folder


def per_image(rows: pd.DataFrame) -> pd.DataFrame:
    """Returns one row per image: path, boxes (N, 4), width and height of the file in pixels.

    Args:
        rows: one row per box, with path, width, height and SIDES, which are empty for an image
            without boxes.

    >>> rows = pd.DataFrame([["a.png", 9, 9, 1, 2, 3, 4], ["b.png", 9, 9, *4 * [None]]])
    >>> per_image(rows.set_axis(["path", "width", "height", *SIDES], axis=1))["boxes"].map(len)
    0    1
    1    0
    Name: boxes, dtype: int64
    """
    images = rows.drop_duplicates("path")[["path", "width", "height"]].reset_index(drop=True)
    of_path = dict(list(rows.dropna(subset=SIDES).groupby("path")))
    none = pd.DataFrame(columns=SIDES)
    boxes = [of_path.get(path, none)[SIDES].to_numpy(np.float64) for path in images["path"]]
    images.insert(1, "boxes", pd.Series(boxes, dtype=object))
    return images


def to_prepared(boxes: np.ndarray, file: Sequence[int], *, size: int, aspect: str) -> np.ndarray:
    """Returns (N, 4) boxes of a file in the pixels of its prepared image.

    ``file``: its width and height, pixels; size and aspect as of pneumo.data.image.resize.
    """
    scale, start = _placement(file, size=size, aspect=aspect)
    moved: np.ndarray = boxes * scale + start
    return moved


def to_file(boxes: np.ndarray, file: Sequence[int], *, size: int, aspect: str) -> np.ndarray:
    """Returns (N, 4) boxes of a prepared image in the pixels of its file, cut at its border.

    Arguments as of to_prepared, whose inverse this is.

    >>> to_file(np.array([[32.0, 40, 64, 128]]), (256, 128), size=128, aspect="pad")
    array([[ 64.,  16., 128., 128.]])
    """
    scale, start = _placement(file, size=size, aspect=aspect)
    moved: np.ndarray = np.clip((boxes - start) / scale, 0, np.tile(file, 2))
    return moved


def _placement(file: Sequence[int], *, size: int, aspect: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns (4,) prepared pixels per pixel of the file, and (4,) the file's corner."""
    width, height = file
    fitted, corner = image.placement(width, height, size=size, aspect=aspect)
    scale = np.array(fitted) / (width, height)
    return np.tile(scale, 2), np.tile(corner, 2)
