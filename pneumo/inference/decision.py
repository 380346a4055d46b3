"""What turns a probability into a decision: threshold, temperature and prediction sets."""

from collections.abc import Sequence
from dataclasses import dataclass

from pneumo.evaluation.operating_point import OperatingPoint
from pneumo.inference import conformal, ensemble
from pneumo.inference.conformal import PredictionSets
from pneumo.inference.ensemble import Member
from pneumo.inference.local_calibration import LocalCalibration
from pneumo.runs import pretrained

NOT_BEST = "predictions.csv, with the validation split, is of the best checkpoint"


@dataclass(frozen=True)
class Decision:
    """How a probability becomes a decision, and what is known of its calibration."""

    threshold: float
    threshold_from: str  # given, calibration, validation or default
    temperature: float | None
    sets: PredictionSets | None = None
    notes: tuple[str, ...] = ()  # to be said once


def decide(
    runs: Sequence[Member],
    *,
    checkpoint: str = "best",
    threshold: float | None = None,
    calibration: LocalCalibration | None = None,
    coverage: float | None = None,
) -> Decision:
    """Returns what decides for the mean of some runs.

    Args:
        runs: one or several.
        checkpoint: best or last.
        threshold: given by the user; it counts before all else.
        calibration: of local images, in place of the validation split.
        coverage: of prediction sets, in (0, 1); None for none.

    Raises:
        ValueError: there is nothing to calibrate prediction sets on, or too little.
    """
    if calibration is not None:
        note = _of_calibration(calibration)
        point = Decision(
            calibration.threshold, "calibration", calibration.temperature, notes=(note,)
        )
    else:
        point = _of_validation(runs, checkpoint, given=threshold)
    notes, sets = (*_populations(runs), *point.notes), None
    if coverage is not None:
        sets, told = _sets(runs, checkpoint, calibration, coverage)
        notes = (*notes, told)
    if threshold is not None:
        return Decision(threshold, "given", point.temperature, sets, notes)
    return Decision(point.threshold, point.threshold_from, point.temperature, sets, notes)


def _populations(runs: Sequence[Member]) -> tuple[str, ...]:
    """Says of networks of the package on whom they were trained."""
    return tuple(
        f"{run.name} was trained on {run.metrics['data']['population']}"
        for run in runs
        if pretrained.is_shipped(run.run_dir) and run.metrics["data"].get("population")
    )


def _of_calibration(calibration: LocalCalibration) -> str:
    """Where threshold and temperature are from, with what the file itself warns of."""
    note = f"threshold and temperature are of the calibration {calibration.name}"
    if calibration.shared_with_train:
        note += (
            f". LEAK: its images share {calibration.shared_with_train} with the train split, so "
            "the threshold is optimistic"
        )
    if calibration.warning:
        note += f". It warns of its intervals: {calibration.warning}"
    return note


def _of_validation(runs: Sequence[Member], checkpoint: str, *, given: float | None) -> Decision:
    fixed: OperatingPoint | str = NOT_BEST
    if checkpoint == "best":
        fixed = ensemble.mean_operating_point(runs)
    if not isinstance(fixed, str):
        return Decision(fixed.threshold, "validation", fixed.temperature)
    used = "the default threshold of 0.5" if given is None else "the threshold given"
    note = f"no calibration and no operating point: {fixed}. Decisions are at {used}"
    return Decision(0.5, "default", None, notes=(note,))


def _sets(
    runs: Sequence[Member], checkpoint: str, calibration: LocalCalibration | None, coverage: float
) -> tuple[PredictionSets, str]:
    """Returns the prediction sets, and what is known of how often they hold the label."""
    if calibration is not None:
        label, probability = calibration.label, calibration.probability
        sets = conformal.fit(label, probability, coverage=coverage, of=calibration.name)
        return sets, f"{_calibrated_on(sets, 'images of ' + calibration.name)}"
    val = ensemble.common_val(runs) if checkpoint == "best" else NOT_BEST
    if isinstance(val, str):
        raise ValueError(
            f"--coverage needs labelled images that no weight was fitted to; {val}. Train with "
            "protocol=holdout or official, or give --calibration (python -m pneumo.calibrate)"
        )
    sets = conformal.fit(val[0], val[1].mean(0), coverage=coverage, of="the validation split")
    told = _calibrated_on(sets, "validation images")
    if len(runs) > 1:
        return sets, told
    rows = conformal.coverage(runs[0].of_split("test"), sets)
    return sets, f"{told}. On the test split of {runs[0].name} {conformal.sentence(rows, sets)}"


def _calibrated_on(sets: PredictionSets, what: str) -> str:
    normal, pneumonia = sets.images
    return (
        f"prediction sets of coverage {sets.coverage:g} are calibrated on {normal:,} NORMAL and "
        f"{pneumonia:,} PNEUMONIA {what}"
    )
