"""Detectors in a report: groups with scores beside the paper's row; the table is detection.csv."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pneumo.data.base import DataSet
from pneumo.data.sets import class_of
from pneumo.evaluation import published
from pneumo.evaluation.detection import SCORES, assess, challenge_score, kept
from pneumo.report.groups import DEBUG, group_key, group_order
from pneumo.report.table import Row, Table
from pneumo.report.wording import DASH, decimal, interval
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


@dataclass
class DetectionGroup:
    """Detectors of the same data and protocol, the best on validation first."""

    slug: str
    kind: str
    protocol: str
    runs: list[Run]
    assessments: list[dict[str, Any]]  # of each run's test split

    @property
    def title(self) -> str:
        """Data set and protocol."""
        return f"Detection: {self.kind}, {self.protocol} protocol"

    @property
    def data_set(self) -> type[DataSet]:
        """The class with the facts of the data set."""
        return class_of(self.kind)

    @property
    def table(self) -> Table:
        """Scores and intervals of each run, and the paper's row."""
        paper: dict[str, str | tuple[str, str]] = dict.fromkeys(COLUMNS, DASH)
        paper |= {name: decimal(value) for name, value in published.SIRAZITDINOV.items()}
        rows = list(map(_row, self.runs, self.assessments))
        return Table(COLUMNS, [*rows, paper | {"run": PAPER, "kind": "paper"}])

    @property
    def finding(self) -> str:
        """One sentence: the score of the detector that is best on its validation split."""
        score = self.assessments[0]["scores"]["challenge"]
        ends = interval(score["low"], score["high"])
        debug = "DEBUG RUNS, whose scores mean nothing: " if self.protocol == DEBUG else ""
        return (
            f"{debug}{self.title}: of {len(self.runs)}, {self.runs[0].metrics['model']} has the "
            "best challenge score on the validation split; on the test split it has "
            f"{decimal(score['value'])} ({ends})."
        )

    def csv_rows(self) -> list[dict[str, Any]]:
        """A row for each detector, with every score and its interval."""
        rows = []
        for run, assessed in zip(self.runs, self.assessments, strict=True):
            row = {"run": run.name, "model": run.metrics["model"], "part": self.title}
            row |= {key: assessed[key] for key in ("images", "patients", "iou", "confidence")}
            for name, score in assessed["scores"].items():
                row |= {name: score["value"]}
                row |= {f"{name}_{end}": score[end] for end in ("low", "high")}
            rows.append(row)
        return rows


def group_detectors(runs: Sequence[Run]) -> list[DetectionGroup]:
    """Returns the detectors by data and protocol, real data first, debug runs last."""
    by_key: dict[tuple[str, str, str], list[Run]] = defaultdict(list)
    for run in runs:
        by_key[group_key(dict(run.metrics))].append(run)
    groups = []
    for place, key in enumerate(sorted(by_key, key=group_order), 1):
        ranked = sorted(by_key[key], key=lambda run: -_on_validation(run))  # never by test scores
        tests = [(run.boxes.of_split("test"), run.confidence) for run in ranked]
        assessed = [
            assess(t.truth, t.predicted, t.scores, patient=t.images["patient"], confidence=at)
            for t, at in tests
        ]
        groups.append(DetectionGroup(f"detection-{place}", *key[:2], ranked, assessed))
    return groups


def _on_validation(run: Run) -> float:
    """The challenge score of a run's validation split; -1 if there is none."""
    val = run.boxes.of_split("val")
    boxes, scores = kept(val.predicted, val.scores, confidence=run.confidence)
    value = challenge_score(val.truth, boxes, scores)
    return value if value == value else -1.0


def _row(run: Run, assessed: Mapping[str, Any]) -> Row:
    seed = run.metrics.get("seed")
    about = f"{run.metrics['model']}" + ("" if seed is None else f", seed {seed}")
    row: dict[str, str | tuple[str, str]] = {"run": (Path(run.name).name, about)}
    for name in SHOWN:
        score = assessed["scores"][name]
        row[name] = decimal(score["value"]), interval(score["low"], score["high"], unknown="")
    return row | {"confidence": decimal(run.confidence)}
