"""Scores of finished classifiers, and how other images differ from their own."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pneumo.choices import PREVALENCES
from pneumo.evaluation.assessment import counts
from pneumo.inference import scoring
from pneumo.inference.leakage import labelled
from pneumo.inference.networks import Networks
from pneumo.inference.scoring import ScoredOn, images_missing
from pneumo.report import terminal
from pneumo.runs import run_folder
from pneumo.runs.run import Run
from pneumo.shift import page, sample
from pneumo.shift.compare import compare
from pneumo.shift.sample import Sample


class Samples(NamedTuple):
    """Images on which a run was not trained, its own and others, as its network gets them."""

    split: str  # of ``own``: val or test
    own: Sample
    other: Sample


def evaluate(
    runs: Sequence[Run],
    *,
    data: Path | None = None,
    labels: bool = True,
    checkpoint: str = "best",
    prevalences: Sequence[float] = PREVALENCES,
    allow_overlap: bool = False,
    name: str | None = None,
    trust: Sequence[str] = (),
) -> dict[str, Any]:
    """Returns the scores of each run, their mean, weighted mean and vote.

    For one run and other images also how they differ from its own; without labels only that. With
    ``name`` each run folder keeps the scores of its best checkpoint, see pneumo.runs.metrics.

    Raises:
        FileNotFoundError, ValueError: a run is broken; a folder has no labelled images, or shares
            some with a train split; the runs have other labels, or no test images in common; a run
            folder has scores of other images under ``name``.
        UnreadableError: an image cannot be read.
    """
    run_folder.check_named_once([run.run_dir for run in runs])
    if data is None:
        on = scoring.own_test_split(runs)
    else:
        read = labelled if labels else sample.unlabelled
        on = scoring.other_images(runs, data, read=read, allow_overlap=allow_overlap)
    digest = scoring.external_digest(runs, on, name=name) if name else ""
    options: dict[str, Any] = {"checkpoint": checkpoint, "trust": trust}
    samples = _samples(runs[0], on, labels=labels, **options) if data and len(runs) == 1 else None
    about: dict[str, Any] = {"schema": 1, "checkpoint": checkpoint}
    if not labels and on.root:
        images = {"what": on.name, "images": len(on.table)}
        shift = _shift(runs[0], on, samples)
        return about | {"scored_on": images, "notes": list(on.notes), "shift": shift}
    if checkpoint != "best":
        splits = ("val",) if data else ("val", "test")
        runs = [scoring.rescored(run, splits, **options) for run in runs]
    if samples is None:
        table, probability = scoring.probabilities(on, runs, **options)
    else:  # scored as they were measured
        other = samples.other.table
        table = on.table.assign(pixels=other["width"] * other["height"])
        probability = other["p_pneumonia"].to_numpy()[None]
    if all(run.metrics.get("baseline") for run in runs):
        about["checkpoint"] = None
    warnings = scoring.warnings(runs, own=data is None, checkpoint=checkpoint)
    scores: dict[str, Any] = {
        **about,
        "scored_on": {"what": on.name, **counts(table)},
        "notes": [*on.notes, *warnings],
    }
    if data and len(runs) == 1:
        scores["shift"] = _shift(runs[0], on, samples)
    scores |= scoring.entries(runs, table, probability, prevalences)
    if name:
        kept = scoring.keep_external(runs, scores, name=name, images_sha256=digest, trust=trust)
        scores["kept"] = list(map(str, kept))
    return scores


def _samples(
    run: Run, on: ScoredOn, *, labels: bool, checkpoint: str, trust: Sequence[str]
) -> Samples | None:
    """Returns other images and the run's own, measured and scored, each read once.

    Its own are those it was validated on, or its test split without any; it was trained on neither.
    None if labels are enough and they are missing, or the run is a baseline.

    Raises:
        UnreadableError: with labels, an image cannot be read.
        ValueError: no image can be read, or the run cannot be loaded.
    """
    assert on.root is not None
    folder = scoring.found_root(run) if labels else scoring.own_root(run)
    if folder is None or (labels and run.metrics.get("baseline")):
        return None
    split = "test" if run.of_split("val").empty else "val"
    networks = Networks([run], checkpoint=checkpoint, trust=trust)
    other = sample.read(networks, on.root, on.table, all_readable=labels)
    return Samples(split, sample.read(networks, folder, run.of_split(split)), other)


def _shift(run: Run, on: ScoredOn, samples: Samples | None) -> dict[str, Any]:
    """Returns how other images differ from the run's, or why that is unknown."""
    if samples is None:
        baseline = f"{run.name} is a baseline, without the features that are compared"
        return {"why_not": baseline if run.metrics.get("baseline") else images_missing(run)}
    reference = "validation" if samples.split == "val" else samples.split
    compared = compare(samples.own, samples.other, reference=reference)
    return {"root": str(on.root), "run": run.name, **compared}


def text(scores: dict[str, Any], *, full: bool = True) -> list[str]:
    """Returns the lines for a terminal; the JSON holds all of it.

    Without ``full`` a comparison of other labelled images is its first line that matters.
    """
    shift = page.lines(scores["shift"]) if "shift" in scores else []
    if "members" in scores:
        shift = shift if full else [line for line in shift if line.startswith("! ")]
        lines = terminal.score_lines(scores, full=full)
        return [*lines, *(["", *shift] if shift else []), *scores.get("kept", ())]
    what = terminal.place(scores["scored_on"]["what"])
    return [f"{what}, without labels:", *(f"! {note}" for note in scores["notes"]), "", *shift]
