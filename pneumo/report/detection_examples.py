"""Test images of a detector with their boxes: misses first, then false alarms, then finds."""

import base64
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pneumo.cli import counted
from pneumo.evaluation.detection import image_counts, kept
from pneumo.runs.run import Run
from pneumo.runs.tables import ImageBoxes

MOST = (("missed", 4), ("false positive", 2), ("found", 2))  # of each kind that are shown


@dataclass(frozen=True)
class Example:
    """One test image."""

    name: str  # its path in the data set
    said: str  # what the detector found and missed
    png: str  # base64


def examples(run: Run) -> tuple[list[Example], str]:
    """Returns examples of a run's test split, and whose they are, or why there are none."""
    try:
        root = run.images()
    except (OSError, ValueError) as error:
        return [], f"No examples: {error}."
    if root is None:
        return [], "No examples: the images are not where the run found them."
    test = run.boxes.of_split("test")
    shown = [_example(test, at, said, run.confidence, root) for at, said in _chosen(test, run)]
    return shown, f"Boxes of {run.name} that reach its confidence of {run.confidence:.3f}."


def _chosen(test: ImageBoxes, run: Run) -> list[tuple[int, str]]:
    """The test images that are shown, by index, with a text: the worst of each kind of `MOST`."""
    hits, false, misses = image_counts(
        test.truth, test.predicted, test.scores, confidence=run.confidence
    )
    kinds = {
        "missed": (misses > 0, misses),
        "false positive": ((misses == 0) & (false > 0), false),
        "found": ((misses == 0) & (false == 0) & (hits > 0), hits),
    }
    rows: list[int] = []
    for name, most in MOST:
        mask, worst = kinds[name]
        index = np.flatnonzero(mask)
        rows += index[np.argsort(-worst[index], kind="stable")][:most].tolist()
    return [(at, _text(int(hits[at]), int(false[at]), int(misses[at]))) for at in rows]


def _text(hits: int, false: int, misses: int) -> str:
    parts = [f"{misses} of {hits + misses} missed"] if misses else []
    parts += [counted(false, "false positive")] if false else []
    return ", ".join(parts) or "all boxes found"


def _example(test: ImageBoxes, at: int, said: str, confidence: float, root: Path) -> Example:
    from pneumo.data import reader
    from pneumo.inference import box_overlay

    name = str(test.images["path"][at])
    radiograph, _ = reader.decode(str(root / name))
    boxes, scores = kept([test.predicted[at]], [test.scores[at]], confidence=confidence)
    png = box_overlay.draw(
        radiograph, truth=test.truth[at], predicted=boxes[0], scores=scores[0], width=280
    )
    return Example(name, said, base64.b64encode(png).decode())
