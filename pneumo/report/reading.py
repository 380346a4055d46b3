"""Run folders to trials: scores and settings of finished runs, and why others are left out."""

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pneumo.evaluation.scores import SCORES, scores
from pneumo.labels import CLASS_NAMES
from pneumo.report.trials import PREDICTED, Problem, Scored, Trial, number
from pneumo.runs import run_folder
from pneumo.runs.metrics import Stress, read_stress
from pneumo.runs.run import Run
from pneumo.runs.tasks import DETECTION

# Settings that do not affect training, or that are reported separately. The digest of its table
# identifies the data set.
IRRELEVANT = (
    *run_folder.MAY_CHANGE,
    "callbacks.checkpoint.",  # chosen_by
    "callbacks.last.",  # Lightning's ModelCheckpoint, which some of docs/runs had
    "data.on_unknown_name",
    "data.source",
    "model.name",
    "protocol.name",
    "protocol.select_on",
    "recipe",
    "trainer.callbacks",
    "trainer.enable_model_summary",
    "trainer.logger",
    "trainer.num_sanity_val_steps",
)
INCIDENTAL = ("seed", "fold", "dir", "path", "workers", "devices", "accelerator", "threads")
OF_BASELINES = (
    *("model.", "decision", "data.aspect", "data.image_size", "data.patient_key", "protocol."),
)
REFERENCE = re.compile(r"\$\{([\w.]+)\}")  # of one setting to another
AT_POINT = ("sensitivity", "specificity", "ppv", "npv")
BINS = ("images", "probability", "observed")  # of the reliability diagram
AGREES = 0.005  # accuracy of predictions.csv may differ from metrics.json by rounding only


def read_run(path: Path, *, name: str) -> Trial | Run | Problem:
    """Returns the trial or detector in a run folder, or why there is none; no content raises."""
    run = Run(path, name)
    try:
        state, reason = run.status["status"], _why_unfinished(run.status)
        if state == "done" and run.task == DETECTION:
            _ = run.confidence, run.boxes  # read and checked
            return run
        if state == "done":
            return _trial(run)
    except (OSError, ValueError) as error:
        state, reason = "unreadable", _without_folder(error, path)
    state = "unfinished" if state == "new" else state
    return Problem(name, state, reason, **run_folder.identity(path))


def _trial(run: Run) -> Trial:
    stress, assessment = read_stress(run.run_dir), dict[str, Any]()
    more, remarks = list(stress_numbers(stress)), []
    # OSError, ValueError: missing; the others: malformed
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        more += [*_assessed(run.assessment)]
        assessment = run.assessment
    trial = Trial(
        run.name,
        run.metrics,
        run.status,
        _settings(run.config, run.metrics),
        assessment=assessment,
        maps=run_folder.read_maps(run.run_dir, checkpoint="best"),
        stress=stress,
        overrides=run_folder.overrides_of(run.run_dir),
    )
    try:
        test, val = (_of_split(run, split) for split in ("test", "val"))
        ensembles = run.config.get("ensembles") or {}
        complete = replace(trial, test=test, val=val, ensembles=ensembles)
        _check_agreement(complete)
        trial = complete
    except (OSError, ValueError) as error:
        remarks.append(f"no interval and no curve: {_without_folder(error, run.run_dir)}")
    try:
        for name, result in run.external.items():
            rows: Mapping[str, Any] = result["assessment"]["scores"]
            split = f"external_{name}"
            more += [Scored("best", split, score, *_ends(row)) for score, row in rows.items()]
        trial = replace(trial, external={n: of["images_sha256"] for n, of in run.external.items()})
    except (OSError, ValueError) as error:
        remarks.append(f"no external score: {_without_folder(error, run.run_dir)}")
    written = [score for score in SCORES if score in trial.metrics["best"]["test"]]
    if undefined := [s for s in written if np.isnan(trial.score(s))]:
        missing = [c for c in CLASS_NAMES if trial.count("test", c) == 0]
        why = f" (the test split has no {' and no '.join(missing)})" if missing else ""
        remarks.append(f"{', '.join(undefined)} undefined{why}: left out of the summary")
    return replace(trial, more=tuple(more), remarks=tuple(remarks))


def _assessed(written: Any) -> Iterator[Scored]:
    """Yields the numbers of an assessment; a malformed one raises any error."""
    point, calibration = written["operating_point"], written["calibration"]
    for state in ("before", "after"):  # the pictures read these later
        for row in calibration[state]["reliability"] if calibration[state] else ():
            _ = [float(row[key]) for key in BINS]
    _ = written["interval"]["warning"]
    yield Scored("best", "test", "threshold", number(point, "threshold"))
    for name in AT_POINT:
        yield Scored("best", "test", name, *_ends(point[name]))
    yield Scored("best", "test", "temperature", number(calibration, "temperature"))
    for name, state in product(("ece", "brier"), ("before", "after")):
        yield Scored("best", "test", f"{name}_{state}", number(calibration[state], name))
    for row in written["subgroups"]:
        yield Scored("best", f"test_{row['by']} {row['group']}", "auroc", *_ends(row.get("auroc")))


def stress_numbers(stress: Stress | None) -> Iterator[Scored]:
    """Yields the numbers of a stress test: mean drop of AUROC, scores before and after."""
    if stress is not None:
        split = f"stress_{stress['split']}"
        yield Scored("best", split, "drop", number(stress, "drop"))
        for when, row in (("clean", stress["clean"]), ("stressed", stress["stressed"])):
            yield from (Scored("best", f"{split}_{when}", n, number(row, n)) for n in row)


def _ends(row: Any) -> Iterator[float]:
    return (number(row, key) for key in ("value", "low", "high"))


def _of_split(run: Run, split: str) -> pd.DataFrame:
    rows = run.predictions[run.predictions["split"] == split].reset_index(drop=True)
    label = rows["label"].map(CLASS_NAMES.index).astype(np.int64)
    rows = rows.assign(label=label, patient=rows["patient"].factorize()[0])
    return rows.rename(columns={"p_pneumonia": "probability"})[list(PREDICTED)]


def _settings(config: Mapping[str, Any], metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the settings, flat, that make two runs of one network incomparable if they differ.

    Those that follow from another are last, so that a label names the one that was set.
    """
    selection, init = metrics.get("selection") or {}, metrics.get("init") or {}
    flat = run_folder.flat(config)
    if init:  # whose place may be written in several ways; a package names none
        flat["init"] = f"{init.get('run')} ({str(init.get('weights_sha256'))[:8]})"
    settings = {
        key: _resolved(value, flat)
        for key, value in sorted(flat.items(), key=lambda item: "${" in str(item[1]))
        if not key.startswith(IRRELEVANT)
        and not key.rpartition(".")[2].endswith(INCIDENTAL)
        and (not metrics.get("baseline") or key.startswith(OF_BASELINES))
    }
    chosen = {"chosen_on": selection.get("on"), "chosen_by": selection.get("monitor")}
    return chosen | settings


def _resolved(value: Any, flat: Mapping[str, Any]) -> Any:
    """Returns the value behind ``${data.image_size}``; numbers as float, so that 1 equals 1.0."""
    if isinstance(value, str) and (reference := REFERENCE.fullmatch(value)):
        value = flat.get(reference[1], value)
    return float(value) if type(value) is int else value


def _check_agreement(trial: Trial) -> None:
    """Raises ValueError if predictions and metrics.json are not of the same epoch and images."""
    images = trial.count("test", "images")
    if np.isfinite(images) and images != len(trial.test):
        raise ValueError(f"predictions.csv has {len(trial.test):,} of {images:,.0f} test images")
    accuracy = scores(trial.label, trial.probability)["accuracy"]
    if abs(accuracy - trial.score("accuracy")) > AGREES:
        raise ValueError(
            f"predictions.csv gives an accuracy of {accuracy:.3f}, metrics.json has "
            f"{trial.score('accuracy'):.3f}"
        )


def _without_folder(error: Exception, path: Path) -> str:
    return str(error).replace(f"{path}/", "").replace(str(path), "the folder")


def _why_unfinished(status: run_folder.Status) -> str:
    if status["status"] == "new":
        return "no readable status.json; start the run again"
    at = f"at epoch {status.get('epoch')} of {status.get('max_epochs')}"
    if status["status"] == "running":
        return f"{at}, or killed there; resume with resume=RUN"
    return ": ".join([at, *str(status.get("error") or "").strip().splitlines()[-1:]])
