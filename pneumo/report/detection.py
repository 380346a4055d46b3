"""The report's detection part: detectors' scores beside the paper's row, curves, examples."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from markupsafe import Markup

from pneumo.evaluation import published
from pneumo.evaluation.detection import challenge_score, kept
from pneumo.evaluation.detection_assessment import MAP_SENTENCE, SCORES, assess
from pneumo.inference.box_overlay import LEGEND
from pneumo.report import detection_examples, detection_figures
from pneumo.report.detection_examples import Example
from pneumo.report.drawing import inline_svg
from pneumo.report.groups import DEBUG
from pneumo.report.markdown import escaped
from pneumo.report.tables import to_csv
from pneumo.report.trials import Problem
from pneumo.report.wording import DASH, decimal, interval
from pneumo.runs import detection_run, run_folder
from pneumo.runs.detection_run import DetectionRun

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

Cells = dict[str, tuple[str, str]]  # column to what it says, and what stands below


@dataclass
class DetectionSection:
    """Detectors of the same data and protocol, in words and table cells."""

    slug: str
    title: str
    about: str
    kind: str
    debug: bool
    runs: list[DetectionRun]
    assessments: list[dict[str, Any]]  # of each run's test split
    rows: list[Cells]
    why_no_map: str | None
    examples: list[Example]
    of_example: str  # whose boxes the examples show, or why there are none
    pictures: dict[str, str] = field(default_factory=dict)  # name to SVG for the page

    @property
    def num_runs(self) -> int:
        """Finished detectors in the section."""
        return len(self.runs)


def read(
    paths: Mapping[Path, str],
) -> tuple[list[DetectionRun], dict[Path, str], list[Problem]]:
    """Finished detectors; the folders that are none, with their names; detectors that are broken.

    Args:
        paths: run folders with the names to show for them.
    """
    found, others, problems = [], {}, []
    for path, name in paths.items():
        done = run_folder.read_status(path)["status"] == "done"
        if not (done and detection_run.is_detection(path)):
            others[path] = name
            continue
        try:
            found.append(detection_run.read(path, name=name))
        except (OSError, ValueError) as error:
            problems.append(Problem(name, "unreadable", str(error)))
    return found, others, problems


def sections(runs: Sequence[DetectionRun]) -> list[DetectionSection]:
    """The detectors by data and protocol, debug runs by themselves, real data first."""
    groups: dict[tuple[str, str, str], list[DetectionRun]] = defaultdict(list)
    for run in runs:
        data = run.metrics["data"]
        protocol = DEBUG if run.metrics.get("debug") else str(run.metrics["protocol"])
        groups[str(data["kind"]), protocol, str(data.get("index_sha256"))].append(run)
    order = sorted(groups, key=lambda key: (key[1] == DEBUG, key[0] == "phantom", key))
    return [_section(*key[:2], groups[key], number) for number, key in enumerate(order, 1)]


def _section(kind: str, protocol: str, runs: list[DetectionRun], number: int) -> DetectionSection:
    runs = sorted(runs, key=lambda run: -_on_validation(run))  # the test split chooses nothing
    assessments = [_assess(run) for run in runs]
    examples, said = detection_examples.examples(runs[0])
    return DetectionSection(
        slug=f"{PREFIX}{number}",
        title=f"Detection: {kind}, {protocol} protocol",
        about=_about(assessments[0]),
        kind=kind,
        debug=protocol == DEBUG,
        runs=runs,
        assessments=assessments,
        rows=[*map(_row, runs, assessments), _paper_row()],
        why_no_map=assessments[0]["why_no_map"],
        examples=examples,
        of_example=said,
    )


def _assess(run: DetectionRun) -> dict[str, Any]:
    test = run.boxes.of_split("test")
    return assess(
        test.truth,
        test.predicted,
        test.scores,
        patient=test.images["patient"],
        confidence=run.confidence,
    )


def _on_validation(run: DetectionRun) -> float:
    """The challenge score of a run's validation split; -1 where there is none."""
    val = run.boxes.of_split("val")
    shown = kept(val.predicted, val.scores, confidence=run.confidence)
    value = challenge_score(val.truth, *shown)
    return value if value == value else -1.0


def _about(found: Mapping[str, Any]) -> str:
    return (
        f"Test split of the first run: {found['images']:,} images of {found['patients']:,} "
        f"patients, {found['true_boxes']:,} true boxes. Not the table of the classifiers: a "
        "detector says where, and its scores count boxes."
    )


def _row(run: DetectionRun, found: Mapping[str, Any]) -> Cells:
    seed = run.metrics.get("seed")
    about = f"{run.metrics['model']}" + ("" if seed is None else f", seed {seed}")
    cells = {"run": (Path(run.name).name, about), "confidence": (decimal(run.confidence), "")}
    for name in SHOWN:
        one = found["scores"][name]
        ends = interval(one["low"], one["high"])
        cells[name] = (decimal(one["value"]), "" if ends == DASH else ends)
    return cells


def _paper_row() -> Cells:
    cells = dict.fromkeys(COLUMNS, (DASH, ""))
    figures = {name: (decimal(value), "") for name, value in published.SIRAZITDINOV.items()}
    return cells | figures | {"run": (PAPER, "")}


def words() -> dict[str, Any]:
    """What detection.html.j2 says of every section."""
    return {
        "detection_columns": COLUMNS,
        "detection_captions": detection_figures.CAPTIONS,
        "detection_legend": LEGEND,
        "detection_map": MAP_SENTENCE,
        "detection_not_comparable": NOT_COMPARABLE,
    }


def headline(parts: Sequence[DetectionSection]) -> list[str]:
    """A sentence on the detector of each section that is best on its validation split."""
    said = []
    for part in parts:
        one = part.assessments[0]["scores"]["challenge"]
        model = part.runs[0].metrics["model"]
        debug = "DEBUG RUNS, whose scores mean nothing: " if part.debug else ""
        said.append(
            f"{debug}{part.title}: of {part.num_runs}, the best by the challenge score of its "
            f"validation split, {model}, has one of {decimal(one['value'])} "
            f"({interval(one['low'], one['high'])}) on the test split."
        )
    return said


def draw(parts: Sequence[DetectionSection]) -> dict[str, str | bytes]:
    """Draws the curves into the sections, and returns them as files, with the table as CSV."""
    files: dict[str, str | bytes] = {}
    for part in parts:
        for name, (raster, vector) in detection_figures.draw(part.runs):
            stem = f"{part.slug}-{name}"
            files |= {f"{stem}.png": raster, f"{stem}.svg": vector}
            label = detection_figures.CAPTIONS[name][0]
            part.pictures[name] = Markup(inline_svg(vector, label=label))  # noqa: S704
    if parts:
        files[FILE] = to_csv(list(_csv_rows(parts)))
    return files


def is_file(name: str) -> bool:
    """Whether a file of that name is one that `draw` returns."""
    drawn = tuple(f"-{kind}.{end}" for kind in detection_figures.CAPTIONS for end in ("png", "svg"))
    return name == FILE or (name.startswith(PREFIX) and name.endswith(drawn))


def _csv_rows(parts: Sequence[DetectionSection]) -> Iterator[dict[str, Any]]:
    for part in parts:
        for run, found in zip(part.runs, part.assessments, strict=True):
            row = {"run": run.name, "model": run.metrics["model"], "part": part.title}
            row |= {key: found[key] for key in ("images", "patients", "iou", "confidence")}
            for name, one in found["scores"].items():
                row |= {name: one["value"], f"{name}_low": one["low"], f"{name}_high": one["high"]}
            yield row


def markdown(parts: Sequence[DetectionSection]) -> str:
    """The sections as Markdown, to follow the rest of summary.md."""
    lines: list[str] = []
    for part in parts:
        lines += ["", f"## {escaped(part.title)}", "", escaped(part.about), ""]
        head = list(COLUMNS.values())
        rows = [[" ".join(filter(None, row[key])) for key in COLUMNS] for row in part.rows]
        lines += [f"| {' | '.join(map(escaped, line))} |" for line in (head, ["---"] * len(head))]
        lines += [f"| {' | '.join(map(escaped, line))} |" for line in rows]
        lines += ["", NOT_COMPARABLE]
    return "\n".join([*lines, ""]) if lines else ""
