"""Radiographs with their predicted boxes drawn over them, and the folder of such pictures."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from pneumo.data import boxes as geometry
from pneumo.data import reader
from pneumo.data.reader import Radiograph
from pneumo.evaluation.metrics import Array
from pneumo.inference import album
from pneumo.inference.album import Album
from pneumo.inference.prediction import Row

WIDTH = 8  # inches of a picture, of 100 pixels each; its height keeps the proportions
COLOUR = "#e69f00"


def opened(out: Path, names: Sequence[str]) -> AbstractContextManager[Album]:
    """Returns the album of ``names`` in ``out``; ValueError if ``out`` holds something else."""
    album.check(out, "--overlays", column="overlay")
    return album.opened(out, names, _draw, column="overlay", suffix=".boxes.png")


def _draw(radiograph: Radiograph, row: Row) -> tuple[bytes, dict[str, Any]]:
    boxes = row["boxes"]
    sides = np.array([[box[side] for side in geometry.SIDES] for box in boxes]).reshape(-1, 4)
    if radiograph.name == reader.STANDARD_INPUT:  # drawn as prepared
        size, aspect = next(iter(radiograph.prepared))
        sides = geometry.to_prepared(sides, radiograph.size, size=size, aspect=aspect)
    png = draw(album.original(radiograph), sides, [box["score"] for box in boxes])
    return png, {"boxes": len(boxes)}


def draw(radiograph: np.ndarray, boxes: Array, scores: Sequence[float]) -> bytes:
    """Returns a PNG of the radiograph, (H, W) uint8, with boxes (K, 4) in its pixels and scores."""
    height, width = radiograph.shape
    figure = Figure(figsize=(WIDTH, WIDTH * height / width), dpi=100)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.imshow(radiograph, cmap="gray", vmin=0, vmax=255, aspect="auto")
    outline = [withStroke(linewidth=3, foreground="black", alpha=0.6)]
    for (left, top, right, bottom), score in zip(boxes, scores, strict=True):
        place = (left - 0.5, top - 0.5)  # in imshow, a pixel's centre is a whole number
        line: dict[str, Any] = {
            "linewidth": 1.6,
            "linestyle": (0, (4, 2)),
            "color": COLOUR,
            "fill": False,
        }
        box = Rectangle(place, right - left, bottom - top, path_effects=outline, **line)
        axes.add_patch(box)
        axes.annotate(
            f"{score:.2f}",
            (left, top),
            xytext=(2, -2),
            textcoords="offset points",
            va="top",
            color=COLOUR,
            fontsize=9,
            bbox={"facecolor": "black", "alpha": 0.7, "pad": 1, "linewidth": 0},
            clip_on=True,
        )
    axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    return album.png(figure)
