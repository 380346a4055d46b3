"""Pictures of detectors: precision and recall of boxes, and FROC."""

from collections.abc import Callable
from functools import partial

import numpy as np
from matplotlib.figure import Figure

from pneumo.evaluation.detection import (
    IOU,
    Curve,
    froc,
    precision_recall_curve,
)
from pneumo.report.detection import DetectionGroup
from pneumo.report.drawing import STYLES, Picture, legend_above, panels

MOST_FALSE = 4.0  # false positives per image that the FROC curve shows
FIXED = "Mark: the confidence fixed on validation."


def _curves(
    curve: Callable[..., Curve], xlabel: str, ylabel: str, group: DetectionGroup
) -> Figure | None:
    """A curve for each detector, with a mark at its confidence; None without a predicted box."""
    runs = group.runs[: len(STYLES)]
    if not any(len(scores) for run in runs for scores in run.boxes.of_split("test").scores):
        return None
    labels = [run.name.rsplit("/", 1)[-1] for run in runs]
    figure, (ax,) = panels(1, height=2.9)
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
