"""A probability becomes a decision: threshold, temperature and prediction sets."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pneumo import cli
from pneumo.choices import BALANCED
from pneumo.evaluation.assessment import labels
from pneumo.evaluation.operating_point import at_bound
from pneumo.inference import conformal, ensemble
from pneumo.inference.conformal import PredictionSets
from pneumo.inference.local_calibration import LocalCalibration, labelled_probabilities
from pneumo.runs.run import Run


@dataclass(frozen=True)
class Decision:
    """How a probability becomes a decision and a calibrated probability."""

    threshold: float
    threshold_from: str  # given, calibration, validation, argmax or balanced
    temperature: float | None
    sets: PredictionSets | None = None
    notes: tuple[str, ...] = ()  # for the user


def decide(
    runs: Sequence[Run],
    checkpoint: str = "best",
    *,
    threshold: float | None = None,  # from the user, in [0, 1]; it takes precedence
    calibration: LocalCalibration | None = None,  # in place of the validation split
    coverage: float | None = None,  # of prediction sets, in (0, 1); None for none
) -> Decision:
    """Returns the decision for the mean of some runs.

    ValueError: a number is not in its range, or there is nothing to calibrate prediction sets on,
    or too little.
    """
    for name, value, ends in (("threshold", threshold, "[]"), ("coverage", coverage, "()")):
        if value is not None:
            cli.check_share(value, ends, name=name)
    if calibration is not None:
        # a temperature keeps 0.5, so it cannot make probabilities for equal classes those of a site
        balanced = any(run.metrics.get("decision") == BALANCED for run in runs)
        temperature = None if balanced else calibration["temperature"]
        decision = _of_calibration(calibration, temperature, threshold=threshold)
    else:
        decision = _by_rule(runs, checkpoint, threshold=threshold)
    populations = (
        f"{run.name} was trained on {population}"
        for run in runs
        if run.is_shipped and (population := run.metrics["data"].get("population"))
    )
    decision = replace(decision, notes=(*populations, *decision.notes))
    if coverage is not None:
        sets, note = _sets(runs, checkpoint, calibration, coverage)
        decision = replace(decision, sets=sets, notes=(*decision.notes, note))
    if threshold is not None:
        return replace(decision, threshold=threshold, threshold_from="given")
    return decision


def _of_calibration(
    calibration: LocalCalibration, temperature: float | None, *, threshold: float | None
) -> Decision:
    used = {"threshold": threshold is None, "temperature": temperature is not None}
    names = " and ".join(name for name, is_used in used.items() if is_used) or "prediction sets"
    note = f"from the calibration {calibration['name']}: {names}"
    if temperature is not None and (bound := at_bound(temperature)):
        note += f". The temperature is {temperature:g}{bound}"
    if ranking := calibration.get("ranking"):
        note += f". Its images: {ranking}"
    if shared := calibration.get("shared_with_train"):
        note += f". LEAK: its images share {shared}: it is optimistic"
    if warning := calibration.get("warning"):
        note += f". It warns of its intervals: {warning}"
    return Decision(calibration["threshold"], "calibration", temperature, notes=(note,))


def _by_rule(runs: Sequence[Run], checkpoint: str, *, threshold: float | None) -> Decision:
    fixed = ensemble.mean_operating_point(runs, checkpoint=checkpoint)
    source = "validation" if fixed.fixed_on else fixed.rule
    if fixed.temperature is not None or source == BALANCED:  # not calibrated by design
        return Decision(fixed.threshold, source, fixed.temperature)
    note = f"no calibration: {fixed.why_not}"
    if fixed.set_aside:
        used = "0.5" if threshold is None else "the threshold given"
        note = f"no operating point and {note}. Decisions are at {used}"
    return Decision(fixed.threshold, source, None, notes=(note,))


def _sets(
    runs: Sequence[Run], checkpoint: str, calibration: LocalCalibration | None, coverage: float
) -> tuple[PredictionSets, str]:
    """Returns the prediction sets, and a sentence on how often they hold the label."""
    if calibration is not None:
        name = calibration["name"]
        sets = conformal.fit(*labelled_probabilities(calibration), coverage=coverage, of=name)
        return sets, _calibrated_on(sets, f"patients of {name}")
    val = ensemble.common_val(runs) if checkpoint == "best" else ensemble.NOT_BEST
    if isinstance(val, str):
        raise ValueError(
            f"--coverage needs labelled images that no weight was fitted to; {val}. Train with "
            "protocol=holdout or official, or give --calibration (python -m pneumo.calibrate)"
        )
    images = runs[0].of_split("val").assign(p_pneumonia=val[1].mean(0))
    for run in runs:  # each may define a patient differently
        groups = run.of_split("val").set_index("path")["group"]
        images = conformal.one_per_patient(images.assign(group=images["path"].map(groups)))
    label, probability = labels(images), images["p_pneumonia"].to_numpy()
    sets = conformal.fit(label, probability, coverage=coverage, of="the validation split")
    note = _calibrated_on(sets, "validation patients")
    if len(runs) > 1:
        return sets, note
    rows = conformal.coverage(runs[0].of_split("test"), sets)
    return sets, f"{note}. On the test split of {runs[0].name} {conformal.sentence(rows, sets)}"


def _calibrated_on(sets: PredictionSets, images: str) -> str:
    normal, pneumonia = sets.patients
    return (
        f"prediction sets of coverage {sets.coverage:g} are calibrated on one image each of "
        f"{normal:,} NORMAL and {pneumonia:,} PNEUMONIA {images}"
    )
