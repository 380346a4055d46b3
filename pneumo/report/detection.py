"""Detectors in a report: groups with scores beside the paper's row, pictures, and detection.csv."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from pneumo.cli import counted
from pneumo.evaluation import detection, published
from pneumo.evaluation.detection import IOU, SCORES, Curve
from pneumo.report.drawing import STYLES, Picture, legend_above, panels
from pneumo.report.groups import DEBUG, Comparable, by_key
from pneumo.report.table import Row, Table
from pneumo.report.wording import DASH, decimal, score_cell
from pneumo.runs.run import Run

FILE = "detection.csv"
SHOWN = ("challenge", "f1", "precision", "recall", "auroc", "map_50", "map")
COLUMNS = {"run": "Run"} | {name: SCORES[name] for name in SHOWN} | {"confidence": "Confidence"}
PAPER = "Sirazitdinov et al., in the paper"
NOT_COMPARABLE = (
    "The paper's row is RetinaNet and Mask R-CNN together on the RSNA Pneumonia Detection "
    f"Challenge, {published.SIRAZITDINOV_PATIENTS:,} patients. It is shown beside these runs but "
    "not compared with them: the paper's table names neither the images nor the IoU and the "
    "confidence from which a box counts, and gives no interval."
)
MOST_FALSE = 4.0  # false positives per image that the FROC curve shows


@dataclass(eq=False)
class DetectionGroup(Comparable):
    """Detectors of the same data and protocol, the best on validation first."""

    runs: list[Run]
    assessments: list[dict[str, Any]]  # of each run's test split

    @property
    def title(self) -> str:
        """Data set and protocol."""
        return f"Detection: {super().title}"

    @property
    def table(self) -> Table:
        """Scores and intervals of each run, and the paper's row."""
        rows: list[Row] = []
        for run, assessed in zip(self.runs, self.assessments, strict=True):
            seed = run.metrics.get("seed")
            about = f"{run.metrics['model']}" + ("" if seed is None else f", seed {seed}")
            row: dict[str, Any] = {"run": (Path(run.name).name, about)}
            row |= {name: score_cell(assessed["scores"][name]) for name in SHOWN}
            rows.append(row | {"confidence": decimal(run.confidence)})
        paper = {name: decimal(value) for name, value in published.SIRAZITDINOV.items()}
        about_paper = {"run": PAPER, "kind": "paper"}
        return Table(COLUMNS, [*rows, dict.fromkeys(COLUMNS, DASH) | paper | about_paper])

    @property
    def finding(self) -> str:
        """One sentence: the score of the detector that is best on its validation split."""
        value, ends = score_cell(self.assessments[0]["scores"]["challenge"], unknown=DASH)
        debug = "DEBUG RUNS, whose scores mean nothing: " if self.protocol == DEBUG else ""
        of, model = counted(len(self.runs), "detector"), self.runs[0].metrics["model"]
        return (
            f"{debug}{self.title}: of {of}, {model} has the best challenge score on the validation "
            f"split; on the test split it has {value} ({ends})."
        )

    def csv_rows(self) -> list[dict[str, Any]]:
        """A row for each detector, with every score and its interval."""
        rows = []
        for run, assessed in zip(self.runs, self.assessments, strict=True):
            row = {"run": run.name, "model": run.metrics["model"], "part": self.title}
            row |= {key: assessed[key] for key in ("images", "patients", "iou", "confidence")}
            for name, score in assessed["scores"].items():
                row[name] = score["value"]
                row |= {f"{name}_{end}": score[end] for end in ("low", "high")}
            rows.append(row)
        return rows


def group_detectors(runs: Sequence[Run]) -> list[DetectionGroup]:
    """Returns the detectors by data and protocol, real data first, debug runs last."""

    def on_validation(run: Run) -> float:
        val = run.boxes.of_split("val")
        value = detection.challenge_score(
            val.truth, *detection.kept(val.predicted, val.scores, confidence=run.confidence)
        )
        return value if value == value else -1.0

    def assessed(run: Run) -> dict[str, Any]:
        test, at = run.boxes.of_split("test"), run.confidence
        patient = test.images["patient"]
        return detection.assess(
            test.truth, test.predicted, test.scores, patient=patient, confidence=at
        )

    groups = []
    for place, ((kind, protocol, _, number), same) in enumerate(by_key(runs).items(), 1):
        ranked = sorted(same, key=on_validation, reverse=True)  # never by test scores
        assessments = list(map(assessed, ranked))
        about = kind, protocol, number, f"detection-{place}"
        groups.append(DetectionGroup(*about, ranked, assessments))
    return groups


def _curves(
    curve: Callable[..., Curve], xlabel: str, ylabel: str, group: DetectionGroup
) -> Figure | None:
    """A curve for each detector, with a mark at its confidence; None without a predicted box."""
    tests = [run.boxes.of_split("test") for run in group.runs[: len(STYLES)]]
    if not any(len(scores) for test in tests for scores in test.scores):
        return None
    figure, (ax,) = panels(1, height=2.9)
    highest = [0.01]
    for run, test, (colour, marker, line) in zip(group.runs, tests, STYLES, strict=False):
        points = curve(test.truth, test.predicted, test.scores)
        ax.plot(points.x, points.y, color=colour, ls=line, label=Path(run.name).name)
        at = int(np.sum(points.confidence >= run.confidence)) - 1
        if at >= 0:
            ax.plot(points.x[at], points.y[at], marker, color=colour, ms=6, zorder=3)
        highest += [float(points.x[-1])] if points.x.size else []
    right = min(MOST_FALSE, max(highest)) if curve is detection.froc else 1.0
    ax.set(xlim=(-0.02 * right, 1.02 * right), ylim=(-0.02, 1.02), xlabel=xlabel, ylabel=ylabel)
    legend_above(figure, ax)
    return figure


PICTURES = {
    "precision-recall": Picture(
        partial(_curves, detection.precision_recall_curve, "recall of boxes", "precision of boxes"),
        "Precision and recall of boxes",
        f"Test split, boxes of all images together; a box is found at an IoU above {IOU}. Mark: "
        "the confidence fixed on validation.",
    ),
    "froc": Picture(
        partial(_curves, detection.froc, "false positives per image", "sensitivity"),
        "FROC",
        f"Share of true boxes found, at an IoU above {IOU}, against false positives per image, as "
        "the confidence falls. Mark: the confidence fixed on validation.",
    ),
}
