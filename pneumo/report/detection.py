"""Detectors in a report: their scores beside the paper's row, curves, examples."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from markupsafe import Markup

from pneumo.evaluation import published
from pneumo.evaluation.detection import challenge_score, kept
from pneumo.evaluation.detection_assessment import SCORES, assess
from pneumo.report import detection_figures
from pneumo.report.detection_examples import Example, examples
from pneumo.report.drawing import inline_svg
from pneumo.report.groups import DEBUG
from pneumo.report.table import Row, Table
from pneumo.report.trials import Problem
from pneumo.report.wording import DASH, decimal, interval
from pneumo.runs.run import Run, is_detection

FILE, PREFIX = "detection.csv", "detection-"  # of the table, and of the pictures' names
SHOWN = ("challenge", "f1", "precision", "recall", "auroc", "map_50", "map")
COLUMNS = {"run": "Run"} | {name: SCORES[name] for name in SHOWN} | {"confidence": "Confidence"}
PAPER = "Sirazitdinov et al., in the paper"
NOT_COMPARABLE = (
    "The paper's row is RetinaNet and Mask R-CNN together on the RSNA Pneumonia Detection "
    f"Challenge, {published.SIRAZITDINOV_PATIENTS:,} patients. It stands beside these runs and is "
    "not compared with them: the paper's table does not say which images it is of, nor from which "
    "IoU and confidence a box counted, and gives no interval."
)


@dataclass
class DetectionSection:
    """Detectors of the same data and protocol, the best on validation first."""

    slug: str
    kind: str
    protocol: str
    runs: list[Run]
    assessments: list[dict[str, Any]]  # of each run's test split
    examples: list[Example]
    of_example: str  # whose boxes the examples show, or why there are none
    pictures: dict[str, str] = field(default_factory=dict)  # name to SVG for the page

    @property
    def title(self) -> str:
        """Data set and protocol."""
        return f"Detection: {self.kind}, {self.protocol} protocol"

    @property
    def about(self) -> str:
        """The test images in sentences."""
        first = self.assessments[0]
        return (
            f"Test split of the first run: {first['images']:,} images of {first['patients']:,} "
            f"patients, {first['true_boxes']:,} true boxes. Not the table of the classifiers: a "
            "detector locates, and its scores count boxes."
        )

    @property
    def table(self) -> Table:
        """Scores and intervals of each run, and the paper's row."""
        paper: dict[str, str | tuple[str, str]] = dict.fromkeys(COLUMNS, DASH)
        paper |= {name: decimal(value) for name, value in published.SIRAZITDINOV.items()}
        rows = list(map(_row, self.runs, self.assessments))
        return Table(COLUMNS, [*rows, paper | {"run": PAPER, "kind": "paper"}])

    @property
    def is_debug(self) -> bool:
        """Whether its scores mean nothing, since its runs are debug runs."""
        return self.protocol == DEBUG

    @property
    def num_runs(self) -> int:
        """Finished detectors in the section."""
        return len(self.runs)

    @property
    def sentence(self) -> str:
        """The score of the detector that is best on its validation split."""
        score = self.assessments[0]["scores"]["challenge"]
        ends = interval(score["low"], score["high"])
        debug = "DEBUG RUNS, whose scores mean nothing: " if self.is_debug else ""
        return (
            f"{debug}{self.title}: of {self.num_runs}, the best by the challenge score of its "
            f"validation split, {self.runs[0].metrics['model']}, has one of "
            f"{decimal(score['value'])} ({ends}) on the test split."
        )


def read(
    paths: Mapping[Path, str],
) -> tuple[list[Run], dict[Path, str], list[Problem]]:
    """Finished detectors; the other folders with their names; detectors that are broken.

    Args:
        paths: run folders with the names to show for them.
    """
    detectors, others, problems = [], {}, []
    for path, name in paths.items():
        run = Run(path, name)
        if not (run.status["status"] == "done" and is_detection(run)):
            others[path] = name
            continue
        try:
            _ = run.confidence, run.boxes  # read and checked
            detectors.append(run)
        except (OSError, ValueError) as error:
            problems.append(Problem(name, "unreadable", str(error)))
    return detectors, others, problems


def sections(runs: Sequence[Run]) -> list[DetectionSection]:
    """The detectors by data and protocol, debug runs by themselves, real data first."""
    groups: dict[tuple[str, str, str], list[Run]] = defaultdict(list)
    for run in runs:
        data = run.metrics["data"]
        protocol = DEBUG if run.metrics.get("debug") else str(run.metrics["protocol"])
        groups[str(data["kind"]), protocol, str(data.get("index_sha256"))].append(run)
    order = sorted(groups, key=lambda key: (key[1] == DEBUG, key[0] == "phantom", key))
    return [
        _section(f"{PREFIX}{place}", *key[:2], groups[key]) for place, key in enumerate(order, 1)
    ]


def _section(slug: str, kind: str, protocol: str, runs: list[Run]) -> DetectionSection:
    runs = sorted(runs, key=lambda run: -_on_validation(run))  # the test split chooses nothing
    assessments = [_assess(run) for run in runs]
    return DetectionSection(slug, kind, protocol, runs, assessments, *examples(runs[0]))


def _assess(run: Run) -> dict[str, Any]:
    test = run.boxes.of_split("test")
    return assess(
        test.truth,
        test.predicted,
        test.scores,
        patient=test.images["patient"],
        confidence=run.confidence,
    )


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
        ends = interval(score["low"], score["high"])
        row[name] = (decimal(score["value"]), "" if ends == DASH else ends)
    return row | {"confidence": decimal(run.confidence)}


def draw(parts: Sequence[DetectionSection]) -> dict[str, str | bytes]:
    """Draws the curves into the sections, and returns them as files."""
    files: dict[str, str | bytes] = {}
    for part in parts:
        for name, (raster, vector) in detection_figures.draw(part.runs):
            stem = f"{part.slug}-{name}"
            files |= {f"{stem}.png": raster, f"{stem}.svg": vector}
            label = detection_figures.PICTURES[name].title
            part.pictures[name] = Markup(inline_svg(vector, label=label))  # noqa: S704
    return files


def is_file(name: str) -> bool:
    """Whether a file of that name is one of a report on detectors."""
    drawn = tuple(f"-{kind}.{end}" for kind in detection_figures.PICTURES for end in ("png", "svg"))
    return name == FILE or (name.startswith(PREFIX) and name.endswith(drawn))


def csv_rows(parts: Sequence[DetectionSection]) -> list[dict[str, Any]]:
    """A row a detector, with every score and its interval."""
    rows = []
    for part in parts:
        for run, assessed in zip(part.runs, part.assessments, strict=True):
            row = {"run": run.name, "model": run.metrics["model"], "part": part.title}
            row |= {key: assessed[key] for key in ("images", "patients", "iou", "confidence")}
            for name, score in assessed["scores"].items():
                row |= {name: score["value"]}
                row |= {f"{name}_{end}": score[end] for end in ("low", "high")}
            rows.append(row)
    return rows
