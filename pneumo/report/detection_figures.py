"""Pictures of detectors: precision against recall of boxes, and the FROC curve."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from pneumo.evaluation.detection import IOU, Curve, froc, precision_recall_curve
from pneumo.report.drawing import STYLES, clipped, legend_above, panels, render, settings
from pneumo.runs.run import Run

MOST_FALSE = 4.0  # false positives an image that the FROC curve shows


class Picture(NamedTuple):
    """A picture of detectors, and its words."""

    curve: Callable[..., Curve]
    xlabel: str
    ylabel: str
    title: str
    caption: str


PICTURES = {
    "precision-recall": Picture(
        precision_recall_curve,
        "recall of boxes",
        "precision of boxes",
        "Precision and recall of boxes",
        f"Test split, all boxes together; a box is found at an IoU above {IOU}. Mark: the "
        "confidence fixed on validation.",
    ),
    "froc": Picture(
        froc,
        "false positives an image",
        "sensitivity",
        "FROC",
        f"Share of true boxes found, at an IoU above {IOU}, against false positives an image, as "
        "the confidence falls. Mark: the confidence fixed on validation.",
    ),
}


def draw(runs: Sequence[Run]) -> Iterator[tuple[str, tuple[bytes, str]]]:
    """Yields the name of each picture of `PICTURES`, its PNG and SVG; none without boxes."""
    if not any(map(len, (scores for run in runs for scores in run.boxes.of_split("test").scores))):
        return
    for name, picture in PICTURES.items():
        with settings():
            figure, ends = _figure(runs[: len(STYLES)], picture)
            right = min(MOST_FALSE, ends) if name == "froc" else 1.0
            figure.axes[0].set_xlim(-0.02 * right, 1.02 * right)
            yield name, render(figure)


def _figure(runs: Sequence[Run], picture: Picture) -> tuple[Figure, float]:
    rows = (len(runs) + 2) // 3  # of the legend
    figure, (ax,) = panels(rows=1, height=3.0 + 0.17 * rows, top=0.15 + 0.17 * rows)
    ends = [0.01]
    for run, (colour, marker, line) in zip(runs, STYLES, strict=False):
        test = run.boxes.of_split("test")
        curve = picture.curve(test.truth, test.predicted, test.scores)
        label = clipped(run.name.rsplit("/", 1)[-1], 24)
        ax.plot(curve.x, curve.y, color=colour, ls=line, label=label)
        at = int(np.sum(curve.confidence >= run.confidence)) - 1
        if at >= 0:
            ax.plot(curve.x[at], curve.y[at], marker, color=colour, ms=6, zorder=3)
        ends += [float(curve.x[-1])] if curve.x.size else []
    ax.set(ylim=(-0.02, 1.02), xlabel=picture.xlabel, ylabel=picture.ylabel)
    legend_above(figure, ax, columns=3)
    return figure, max(ends)
