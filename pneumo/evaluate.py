"""Finished runs are scored on their test split, or on other images, compared to theirs."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pneumo import cli

if __name__ == "__main__":  # --help and wrong arguments need nothing of what follows
    raise SystemExit(cli.start("evaluate"))

import numpy as np
import pandas as pd

from pneumo.arguments.evaluate import parse
from pneumo.choices import PREVALENCES
from pneumo.data import image
from pneumo.data.listing import check_unpacked
from pneumo.data.sets import class_of
from pneumo.evaluation.assessment import assess
from pneumo.evaluation.metrics import Array
from pneumo.evaluation.operating_point import (
    VOTE,
    OperatingPoint,
    fit_on_validation,
    fit_weights,
    vote_share,
)
from pneumo.evaluation.paired import draw, minus
from pneumo.inference import detection_evaluation, ensemble
from pneumo.inference.ensemble import Member, Networks
from pneumo.inference.files import UnreadableError, score_files
from pneumo.inference.leakage import labelled, shared_with_train
from pneumo.labels import CLASS_NAMES
from pneumo.report import terminal
from pneumo.report.reading import find_runs
from pneumo.runs import detection_run, pretrained, run_folder
from pneumo.runs.output import check_out, opened, printable
from pneumo.shift import page, sample, sentences
from pneumo.shift.run import Samples, against_run
from pneumo.shift.run import read as read_samples

IMAGES_GONE = (
    "the images of {} must be read, and are not where it found them. Set PNEUMO_DATA (or, for "
    "generated ones, PNEUMO_CACHE) as it was for the training; python -m pneumo.download fetches "
    "the set"
)


@dataclass(frozen=True)
class ScoredOn:
    """The images to score: what, where, and how it was made sure that they are new to the runs."""

    what: str
    table: pd.DataFrame  # path, label, subtype, source, group
    root: Path | None  # of the images; None where predictions.csv is enough
    notes: tuple[str, ...] = ()


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    given = parse(arguments)
    return cli.run(lambda: _command(given))


def _command(given: argparse.Namespace) -> int:
    run_dirs = [run_dir for run in given.runs for run_dir in _run_dirs(pretrained.find(run))]
    _check_shift(given, num_runs=len(run_dirs))
    for name, out in (("--out", given.out), ("--page", given.page)):
        if out:
            check_out(out, run_dirs=run_dirs, name=name)
    if given.out and given.page and given.out.resolve() == given.page.resolve():
        raise ValueError(f"--out and --page must be two files; got {given.out} for both")
    if detection_run.are_detectors(run_dirs):
        return _detectors(given, run_dirs)
    if given.page:
        _own_root(ensemble.read(run_dirs[0]))  # before anything is scored
    try:
        found = evaluate(
            run_dirs,
            data=given.data,
            labels=not given.unlabelled,
            checkpoint=given.checkpoint,
            prevalences=given.prevalence,
            allow_overlap=given.allow_overlap,
            trust=given.trust,
        )
    except UnreadableError as error:
        sys.stderr.write(f"error: {error}\n")
        return cli.UNREADABLE
    _tell(found, text(found), given.out)
    if given.page:
        _write_page(given.page, found, ensemble.read(run_dirs[0]))
    return cli.UNREADABLE if found.get("shift", {}).get("unreadable") else 0


def _run_dirs(place: Path) -> list[Path]:
    """The folder of a run itself; of a sweep its finished runs, the others are named."""
    if not place.is_dir() or ensemble.looks_like_run(place):
        return [place]
    runs = {run: run_folder.read_status(run)["status"] for run in find_runs(place)}
    left_out = [f"{run.name} ({status})" for run, status in runs.items() if status != "done"]
    if left_out:
        sys.stderr.write(f"left out of {place}, not finished: {', '.join(left_out)}\n")
    return [run for run, status in runs.items() if status == "done"] or [place]


def _check_shift(given: argparse.Namespace, *, num_runs: int) -> None:
    for name, asked in (("--unlabelled", given.unlabelled), ("--page", given.page)):
        if asked and (not given.data or num_runs > 1):
            raise ValueError(f"{name} compares the images of --data DIR with those of one RUN")
    if given.unlabelled and given.prevalence is not PREVALENCES:
        raise ValueError("--prevalence is of predictive values, which need labels; leave it out")


def _write_page(out: Path, found: Mapping[str, Any], run: Member) -> None:
    own = ensemble.assessment(run) if "members" in found else None
    html = page.html(found, root=Path(found["shift"]["root"]), own_root=_own_root(run), own=own)
    with opened(out, standard=sys.stdout) as file:
        file.write(printable(html))  # names of files need not be UTF-8


def _detectors(given: argparse.Namespace, run_dirs: Sequence[Path]) -> int:
    of_classifiers = {
        "--data": given.data is not None,
        "--checkpoint": given.checkpoint != "best",
        "--prevalence": given.prevalence is not PREVALENCES,
        "--allow-overlap": given.allow_overlap,
    }
    for option, is_given in of_classifiers.items():
        if is_given:
            raise ValueError(
                f"{option} is of classifiers; a detector is scored by its boxes.csv, of its own "
                f"test split and best checkpoint. Leave {option} out"
            )
    found = detection_evaluation.evaluate(run_dirs)
    _tell(found, terminal.wrapped(detection_evaluation.text(found)), given.out)
    return 0


def _tell(found: dict[str, Any], said: str, out: Path | None) -> None:
    if out:
        with opened(out, standard=sys.stdout) as file:
            file.write(run_folder.json_text(found))
    sys.stdout.write(said)


def evaluate(
    run_dirs: Sequence[Path],
    *,
    data: Path | None = None,
    labels: bool = True,
    checkpoint: str = "best",
    prevalences: Sequence[float] = PREVALENCES,
    allow_overlap: bool = False,
    trust: Sequence[str] = (),
) -> dict[str, Any]:
    """Returns what ``--out`` writes: each run, their mean, weighted mean and vote, scored alike.

    Of one run and other images also how they differ from its own; without labels that alone.

    Raises:
        FileNotFoundError, ValueError: a run is broken; a folder has no labelled images, or shares
            some with a train split; the runs have other classes or labels, or no test images in
            common.
        UnreadableError: an image cannot be read.
    """
    run_folder.check_named_once(run_dirs)
    known = [ensemble.read(run_dir) for run_dir in run_dirs]
    ensemble.check_classes(known)
    if data is None:
        scored_on = own_test_split(known, allow_overlap=allow_overlap)
    else:
        scored_on = other_images(known, data, labels=labels, allow_overlap=allow_overlap)
    about: dict[str, Any] = {"schema": 1, "checkpoint": checkpoint}
    samples = None
    if data and len(known) == 1:
        samples = _samples(known[0], scored_on, labels=labels, checkpoint=checkpoint, trust=trust)
    if not labels and scored_on.root:
        what = {"what": scored_on.what, "images": len(scored_on.table)}
        shift = _shift(known[0], scored_on, samples)
        return about | {"scored_on": what, "notes": list(scored_on.notes), "shift": shift}
    if checkpoint != "best":
        splits = ("val",) if data else ("val", "test")
        known = [_rescored(k, splits, samples, checkpoint=checkpoint, trust=trust) for k in known]
    table, probability = _probabilities(
        scored_on, known, samples, checkpoint=checkpoint, trust=trust
    )
    names = list(CLASS_NAMES)
    found: dict[str, Any] = {
        **about,
        "scored_on": {
            "what": scored_on.what,
            "images": len(table),
            "patients": int(table["group"].nunique()),
            **{name: int((table["label"] == name).sum()) for name in names},
        },
        "notes": [*scored_on.notes, *_warnings(known, own=data is None, checkpoint=checkpoint)],
        "checkpoint": None if all(k.metrics.get("baseline") for k in known) else checkpoint,
    }
    if data and len(known) == 1:
        found["shift"] = _shift(known[0], scored_on, samples)
    return found | _entries(known, table, probability, prevalences)


def own_test_split(known: Sequence[Member], *, allow_overlap: bool) -> ScoredOn:
    """Returns the test split of the runs, or of several those images that all of them tested on.

    Raises:
        ValueError: the runs are of different data, or too few images were tested on by all.
    """
    first = known[0]
    tests = [one.of_split("test") for one in known]
    if len(known) == 1:
        return ScoredOn(f"the test split of {first.name}", tests[0], None)
    kinds = {(one.metrics["data"].get("kind"), _generated(one)) for one in known}
    if len(kinds) > 1:
        raise ValueError("several runs must be of the same data; name one set with --data DIR")
    if len({one.metrics["data"]["split_sha256"] for one in known}) == 1:
        return ScoredOn(f"the test split of all {len(known)} runs", tests[0], None)
    common = ensemble.common_test(known)
    left_out = (
        f"left out are {common.trained:,} that a run was trained on, or on their patient, and "
        f"{common.elsewhere:,} that are not in every test split"
    )
    if common.rows["label"].nunique() == 2:
        note = (
            f"the runs have different splits: of the {len(tests[0]):,} test images of {first.name} "
            f"{len(common.rows):,} are scored, on which no run was trained; {left_out}"
        )
        return ScoredOn("the test images that all runs share", common.rows, None, (note,))
    if not allow_overlap:
        raise ValueError(
            "an ensemble must be scored on images that no run was trained on; these runs have "
            f"different splits, and {len(common.rows):,} such images are left. Take runs of one "
            "split, or --data DIR (--allow-overlap scores the first run's test split: optimistic)"
        )
    note = "LEAK: other runs were trained on some of these images; the scores are optimistic"
    return ScoredOn(f"the test split of {first.name}", tests[0], _own_root(first), (note,))


def _samples(
    one: Member, scored_on: ScoredOn, *, labels: bool, checkpoint: str, trust: Sequence[str]
) -> Samples | None:
    """Reads other images, and the run's own; None where its own are gone and labels are enough."""
    assert scored_on.root is not None
    own = ensemble.own_images(one)
    if own is None and labels:
        return None
    return read_samples(
        *(one, own or _own_root(one), scored_on.root, scored_on.table),
        checkpoint=checkpoint,
        trust=trust,
        all_own=labels and checkpoint != "best",  # their probabilities are made anew
        all_others=labels,
    )


def _shift(one: Member, scored_on: ScoredOn, samples: Samples | None) -> dict[str, Any]:
    """How other images differ from the run's; why that is not known, where its own are gone."""
    if samples is None:
        return {"why_not": IMAGES_GONE.format(one.name)}
    return {"root": str(scored_on.root), **against_run(one, samples)}


def other_images(
    known: Sequence[Member], data: Path, *, labels: bool = True, allow_overlap: bool
) -> ScoredOn:
    """Returns the images of a folder, labelled or not.

    Raises:
        FileNotFoundError, ValueError: see leakage.labelled; or it shares patients or images
            with a run's train split, and ``allow_overlap`` is not set.
    """
    check_unpacked(data, name="--data")
    notes = []
    keys = [str(one.metrics["data"].get("patient_key", "person")) for one in known]
    read = labelled if labels else sample.unlabelled
    tables = {key: read(data, patient_key=key) for key in dict.fromkeys(keys)}
    for one, key in zip(known, keys, strict=True):
        root, table = tables[key]
        shared, compared = shared_with_train(one, root, table)
        if shared and not allow_overlap:
            raise ValueError(
                f"--data must be new to the run; it shares {shared} with the train split of "
                f"{one.name}. For the run's own test split leave --data out; to score all the "
                "same, with an optimistic result, give --allow-overlap"
            )
        leak = (
            f"LEAK: shares {shared} with the train split; the scores are optimistic; "
            if shared
            else ""
        )
        notes.append(f"{one.name}: {leak}compared {compared}")
    root, table = tables[keys[0]]
    return ScoredOn(str(data), table, root, tuple(notes))


def _generated(one: Member) -> str:
    """The name of generated images; the real set's folder may be called anything."""
    data = one.metrics["data"]
    return str(data.get("root_name")) if class_of(str(data.get("kind"))).generated else ""


def _sorted(table: pd.DataFrame) -> pd.DataFrame:
    return table.sort_values("path", ignore_index=True)


def _own_root(one: Member) -> Path:
    root = ensemble.own_images(one)
    if root is None:
        raise FileNotFoundError(IMAGES_GONE.format(one.name))
    return root


def _rescored(
    one: Member,
    splits: Sequence[str],
    samples: Samples | None,
    *,
    checkpoint: str,
    trust: Sequence[str],
) -> Member:
    """Returns the run with probabilities of another checkpoint than that of predictions.csv."""
    rows = _sorted(one.predictions[one.predictions["split"].isin(splits)])
    if rows.empty:
        return replace(one, predictions=rows)
    if samples is not None:  # read with the images of --data, and of val alone
        return replace(one, predictions=rows.assign(p_pneumonia=samples.own.table["p_pneumonia"]))
    networks = Networks([one.run_dir], checkpoint=checkpoint, trust=trust)
    found = score_files(networks, _own_root(one), rows["path"].tolist())
    return replace(one, predictions=rows.assign(p_pneumonia=found.probability[0]))


def _probabilities(
    scored_on: ScoredOn,
    known: Sequence[Member],
    samples: Samples | None,
    *,
    checkpoint: str,
    trust: Sequence[str],
) -> tuple[pd.DataFrame, Array]:
    """Returns the table with each file's pixels, and (M, N) probabilities of PNEUMONIA."""
    if samples is not None:
        found = samples.other.table
        table = scored_on.table.assign(pixels=found["width"] * found["height"])
        return table, found["p_pneumonia"].to_numpy()[None]
    paths = scored_on.table["path"].tolist()
    if scored_on.root is not None:
        run_dirs = [one.run_dir for one in known]
        networks = Networks(run_dirs, checkpoint=checkpoint, trust=trust)
        files = score_files(networks, scored_on.root, paths)
        return scored_on.table.assign(pixels=files.pixels), files.probability
    columns = [one.of_split("test").set_index("path")["p_pneumonia"][paths] for one in known]
    root = ensemble.own_images(known[0])
    sizes = {} if root is None else {"pixels": [image.num_pixels(root / path) for path in paths]}
    return scored_on.table.assign(**sizes), np.stack([each.to_numpy() for each in columns])


def _warnings(known: Sequence[Member], *, own: bool, checkpoint: str) -> list[str]:
    notes = [str(n) for n in dict.fromkeys(o.metrics["data"].get("note") for o in known) if n]
    chosen_on_test = [
        one.name for one in known if (one.metrics.get("selection") or {}).get("on") == "test"
    ]
    if own and checkpoint == "best" and chosen_on_test:
        notes.append(
            f"the epoch of {', '.join(chosen_on_test)} was chosen on the test split, which "
            "is optimistic; --checkpoint last was not chosen"
        )
    return notes


def _entries(
    known: Sequence[Member], table: pd.DataFrame, probability: Array, prevalences: Sequence[float]
) -> dict[str, Any]:
    """Returns members, and of several their mean, majority vote and weighted mean."""

    def entry(p: Array, fixed: OperatingPoint | str) -> dict[str, Any]:
        return assess(table, p, fixed=fixed, prevalences=prevalences)

    found: dict[str, Any] = {
        "members": [
            {"run": one.name, **entry(probability[number], ensemble.mean_operating_point([one]))}
            for number, one in enumerate(known)
        ]
    }
    if len(known) == 1:
        return found
    found["differences"] = _differences(known, table, probability)
    found["ensemble"] = entry(probability.mean(0), ensemble.mean_operating_point(known))
    vote = entry(vote_share(probability), VOTE)  # of which nothing that takes it as a probability
    found["vote"] = {key: vote[key] for key in ("interval", "scores")} | {"note": VOTE}
    val = ensemble.common_val(known)
    if isinstance(val, str):
        return found | {"weighted": {"why_not": val}}
    weights = fit_weights(*val)
    weighted = entry(weights @ probability, fit_on_validation(val[0], weights @ val[1]))
    return found | {"weighted": {"weights": weights.tolist(), **weighted}}


def _differences(
    known: Sequence[Member], table: pd.DataFrame, probability: Array
) -> list[dict[str, Any]]:
    """The first run minus each other one on these images, each at its own operating point.

    One without a validation split has none and is taken at 0.5.
    """
    drawn, thresholds, fixed_on = [], [], []
    for one, p in zip(known, probability, strict=True):
        fixed = ensemble.mean_operating_point([one])
        thresholds.append(0.5 if isinstance(fixed, str) else fixed.threshold)
        fixed_on.append(None if isinstance(fixed, str) else "val")
        drawn.append(
            draw(ensemble.labels(table), p, patient=table["group"], threshold=thresholds[-1])
        )
    return [
        {
            "first": known[0].name,
            "first_threshold": thresholds[0],
            "first_fixed_on": fixed_on[0],
            "second": known[place].name,
            "second_threshold": thresholds[place],
            "second_fixed_on": fixed_on[place],
            **minus(drawn[0], drawn[place]),
        }
        for place in range(1, len(known))
    ]


def text(found: dict[str, Any]) -> str:
    """Returns the result for a terminal of 80 columns; all of it is in the JSON."""
    shift = sentences.lines(found["shift"]) if "shift" in found else []
    if "members" not in found:
        on = found["scored_on"]
        start = [f"{on['what']}, without labels:", *(f"! {note}" for note in found["notes"])]
        return terminal.wrapped([*start, "", *shift])
    lines = terminal.score_lines(found)
    return terminal.wrapped([*lines, "", *shift] if shift else lines)
