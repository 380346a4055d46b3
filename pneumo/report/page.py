"""The report as one self-contained page: no script, nothing loaded, pictures inline."""

from collections.abc import Sequence
from math import isnan
from typing import Any

from pneumo.cli import counted
from pneumo.evaluation import published
from pneumo.evaluation.intervals import FEWEST_PAIRS
from pneumo.report import assessment_figures, assessments, claims, paired
from pneumo.report.audit_link import AuditLink
from pneumo.report.claims import claim_rows
from pneumo.report.curves import MOST_SHOWN
from pneumo.report.detection import DetectionSection, words
from pneumo.report.findings import COLUMNS, Section
from pneumo.report.groups import DEBUG
from pneumo.report.markdown import DIFFERENCES, MARGINS, OPTIMISM, SIZES
from pneumo.report.overview import overviews
from pneumo.report.tables import Intervals
from pneumo.report.templates import page_template
from pneumo.report.trials import Problem, Trial, number, split_name
from pneumo.report.wording import (
    DASH,
    DEBUG_BANNER,
    FRONT_NOTE,
    RATE_NOTE,
    TRAIN_NOTE,
    decimal,
    interval,
)

TEMPLATE = "report.html.j2"
MOST_RUNS = 100  # listed on the page; runs.csv has all
WITH_INTERVAL = ("f1_normal", "auroc", "accuracy", "f1_pneumonia")
CAPTIONS = assessment_figures.CAPTIONS | {
    "figure1": (
        "F1 by network (figure 1 of the paper)",
        "Each point is a trial, at its chosen epoch; open on the train split, filled on the test "
        "split. Box: quartiles and median; whiskers: lowest and highest; of one or two trials the "
        "points alone. " + TRAIN_NOTE,
    ),
    "learning-curves": (
        "Learning curves",
        "F1 of NORMAL by epoch: median over trials, and the range from lowest to highest. "
        "Filled line: test split; grey dashes: train split. Markers: the epochs chosen.",
    ),
    "roc-precision-recall": (
        "ROC and precision-recall",
        "Test split at the chosen epoch: median over trials. Of up to three networks with a band "
        "from lowest to highest; of a single trial its own curve, band the central 95 % of 200 "
        "resamples of its patients. A baseline that ranks nothing (AUROC 0.5) is left out.",
    ),
    "confusion": (
        "Confusion matrices",
        "Of each true class (row), the share called each class at a probability of 0.5, and the "
        "images: means over trials of the test split.",
    ),
    "accuracy-size": (
        "Accuracy, size and speed",
        "Median accuracy on the test split and range over trials; hollow: ensembles. The line "
        "joins the Pareto front: the networks that no other matches in accuracy with as few "
        "parameters, as few multiply-adds, or at as many images/s (in training; where all were "
        "timed on one device).",
    ),
}
PEERS = (  # of the picture "accuracy-size", which shows them beside real images only
    "The sizes of the other papers' networks are not in the paper: they are those of torchvision's "
    "weight tables (1,000 classes, at 224 px; InceptionV3 at 299 px) and, for Xception, of the "
    "Keras documentation, which gives no multiply-adds. Rahman and Ayan name several networks: a "
    "tick each, joined by a line. Hashmi is the sum of its members; in multiply-adds, without "
    "Xception's. Left out: Sirazitdinov (other data) and Hamoldi (0.957, network not named)."
)


def html(
    said: Sequence[str],
    *,
    parts: Sequence[Section],
    problems: Sequence[Problem],
    intervals: Intervals,
    files: Sequence[str],
    audit: AuditLink | None = None,
    detection: Sequence[DetectionSection] = (),
) -> str:
    """The page's text; names that come from run folders are escaped."""
    assessed = {part.group.slug: assessments.tables(part.group) for part in parts}
    return page_template(TEMPLATE).render(
        said=said,
        parts=parts,
        problems=problems,
        networks={
            part.group.slug: _networks(part, intervals, assessed[part.group.slug]["subgroups"])
            for part in parts
        },
        most_runs=MOST_RUNS,
        fewest=FEWEST_PAIRS,
        most_shown=MOST_SHOWN,
        phantom=[part.title for part in parts if part.group.kind == "phantom"],
        captions=CAPTIONS,
        assessed=assessed,
        assessment_columns=assessments.TABLES,
        subgroup_columns={k: v for k, v in assessments.SUBGROUPS.items() if k != "network"},
        peers=PEERS,
        columns=COLUMNS,
        sizes=SIZES,
        optimism=OPTIMISM,
        margins=MARGINS,
        differences=DIFFERENCES,
        paired={part.group.slug: paired.rows(part.pairs) for part in parts},
        paired_columns=paired.COLUMNS,
        run_columns={name: COLUMNS[name] for name in WITH_INTERVAL},
        claims=claim_rows([part.group for part in parts]),
        claim_columns=claims.COLUMNS,
        overviews=overviews([part.group for part in parts]),
        debug=[part.title for part in parts if part.group.protocol == DEBUG],
        debug_banner=DEBUG_BANNER,
        paper=published,
        train_note=TRAIN_NOTE,
        size_note=f"{RATE_NOTE} {FRONT_NOTE}",
        files=files,
        audit=audit,
        detection=detection,
        **words(),
    )


def _networks(
    part: Section, intervals: Intervals, subgroups: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Of each network what folds away: its runs, its margins within each, its subgroups."""
    left, found = MOST_RUNS, []
    for cell in part.group.rows:
        if not cell.trials:
            continue
        trials, left = cell.trials[:left], max(0, left - len(cell.trials))
        found.append(
            {
                "label": cell.label,
                "num_runs": counted(len(cell.trials), "seed" if cell.is_ensemble else "run"),
                "f1": decimal(cell.spread("best", "test", "f1_normal").median),
                "runs": [_run(trial, intervals=intervals) for trial in trials],
                "left": len(cell.trials) - len(trials),
                "weights": [_weights(trial) for trial in trials if _weights(trial)],
                "margins": part.of_trials.get(cell.label, []),
                "subgroups": [row for row in subgroups if row["network"][0] == cell.label],
            }
        )
    return found


def _run(trial: Trial, *, intervals: Intervals) -> dict[str, str]:
    epoch = number(trial.metrics["best"], "epoch")  # an ensemble has none
    row = {
        "split": split_name(trial.split),
        "epoch": DASH if trial.is_baseline or isnan(epoch) else f"{epoch + 1:.0f}",
        "last": DASH if trial.is_baseline else decimal(trial.score("last", "test", "f1_normal")),
    }
    for score in WITH_INTERVAL:
        ends = intervals.get(trial.name, {}).get(score)
        row[score] = decimal(trial.score("best", "test", score))
        row[f"{score}_interval"] = interval(*ends) if ends else DASH
    return row


def _weights(trial: Trial) -> str:
    """The weights of a weighted mean in words; "" of anything else."""
    known = [(name, weight) for name, weight in trial.members if not isnan(weight)]
    shown = ", ".join(f"{name} {decimal(weight, digits=2)}" for name, weight in known)
    return f"{split_name(trial.split)}: {shown}" if shown else ""
