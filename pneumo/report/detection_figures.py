"""Pictures of detectors: precision and recall of boxes, FROC, and test images with their boxes."""

import base64
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from pneumo.cli import counted
from pneumo.evaluation.detection import (
    IOU,
    Curve,
    froc,
    image_counts,
    kept,
    precision_recall_curve,
)
from pneumo.report.detection import DetectionGroup
from pneumo.report.drawing import STYLES, Picture, legend_above, panels, short_label
from pneumo.runs.run import Run
from pneumo.runs.tables import ImageBoxes

MOST_FALSE = 4.0  # false positives per image that the FROC curve shows
NUM_EXAMPLES = {"missed": 4, "false positive": 2, "found": 2}  # in this order
FIXED = "Mark: the confidence fixed on validation."


class Example(NamedTuple):
    """A test image with its boxes."""

    name: str  # its path in the data set
    result: str  # what the detector found and missed
    png: str  # base64


def _curves(
    curve: Callable[..., Curve], xlabel: str, ylabel: str, group: DetectionGroup
) -> Figure | None:
    """A curve for each detector, with a mark at its confidence; None without a predicted box."""
    runs = group.runs[: len(STYLES)]
    if not any(len(scores) for run in runs for scores in run.boxes.of_split("test").scores):
        return None
    labels = [short_label(run.name.rsplit("/", 1)[-1]) for run in runs]
    figure, (ax,) = panels(1, height=2.9, labels=labels)
    highest = [0.01]
    for run, label, (colour, marker, line) in zip(runs, labels, STYLES, strict=False):
        test = run.boxes.of_split("test")
        points = curve(test.truth, test.predicted, test.scores)
        ax.plot(points.x, points.y, color=colour, ls=line, label=label)
        at = int(np.sum(points.confidence >= run.confidence)) - 1
        if at >= 0:
            ax.plot(points.x[at], points.y[at], marker, color=colour, ms=6, zorder=3)
        highest += [float(points.x[-1])] if points.x.size else []
    right = min(MOST_FALSE, max(highest)) if curve is froc else 1.0
    ax.set(xlim=(-0.02 * right, 1.02 * right), ylim=(-0.02, 1.02), xlabel=xlabel, ylabel=ylabel)
    legend_above(figure, ax)
    return figure


PICTURES = {
    "precision-recall": Picture(
        partial(_curves, precision_recall_curve, "recall of boxes", "precision of boxes"),
        "Precision and recall of boxes",
        f"Test split, boxes of all images together; a box is found at an IoU above {IOU}. {FIXED}",
    ),
    "froc": Picture(
        partial(_curves, froc, "false positives per image", "sensitivity"),
        "FROC",
        f"Share of true boxes found, at an IoU above {IOU}, against false positives per image, as "
        f"the confidence falls. {FIXED}",
    ),
}


def examples(run: Run) -> tuple[list[Example], str]:
    """Returns test images, misses first, and a sentence: whose boxes they show, or why none."""
    try:
        root = run.images()
    except (OSError, ValueError) as error:
        return [], f"No examples: {error}."
    if root is None:
        return [], "No examples: images not found in the folder used for training."
    test = run.boxes.of_split("test")
    shown = [_example(test, at, result, run.confidence, root) for at, result in _chosen(test, run)]
    return shown, f"Boxes of {run.name} at or above its confidence of {run.confidence:.3f}."


def _chosen(test: ImageBoxes, run: Run) -> list[tuple[int, str]]:
    """The index of each image shown, and its result: the worst of each kind of `NUM_EXAMPLES`."""
    hits, false, misses = image_counts(
        test.truth, test.predicted, test.scores, confidence=run.confidence
    )
    kinds = {
        "missed": (misses > 0, misses),
        "false positive": ((misses == 0) & (false > 0), false),
        "found": ((misses == 0) & (false == 0) & (hits > 0), hits),
    }
    rows: list[int] = []
    for kind, most in NUM_EXAMPLES.items():
        mask, count = kinds[kind]
        index = np.flatnonzero(mask)
        rows += index[np.argsort(-count[index], kind="stable")][:most].tolist()
    return [(at, _result(int(hits[at]), int(false[at]), int(misses[at]))) for at in rows]


def _result(hits: int, false: int, misses: int) -> str:
    parts = [f"{misses} of {hits + misses} missed"] if misses else []
    parts += [counted(false, "false positive")] if false else []
    return ", ".join(parts) or "all boxes found"


def _example(test: ImageBoxes, at: int, result: str, confidence: float, root: Path) -> Example:
    from pneumo.data import reader
    from pneumo.inference import box_overlay

    path = str(test.images["path"][at])
    radiograph, _ = reader.decode(str(root / path))
    boxes, scores = kept([test.predicted[at]], [test.scores[at]], confidence=confidence)
    png = box_overlay.draw(
        radiograph, truth=test.truth[at], predicted=boxes[0], scores=scores[0], width=280
    )
    return Example(path, result, base64.b64encode(png).decode())
