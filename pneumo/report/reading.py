"""Run folders to trials: what each finished run scored, and why each other one is left out."""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pneumo import untrusted
from pneumo.evaluation.metrics import SCORES, Array, scores
from pneumo.labels import CLASS_NAMES
from pneumo.report import assessments
from pneumo.report.trials import Predictions, Problem, Trial
from pneumo.runs import run_folder
from pneumo.runs.finished import what_is_wrong

# Of a run's configuration: what is reported by itself, or bears on nothing that is learnt. What
# the data are is told by their index.
TELL_NOTHING = (
    *run_folder.MAY_CHANGE,
    "data.on_unknown_name",
    "data.source",
    "protocol.select_on",
    "trainer.callbacks",
    "trainer.enable_model_summary",
    "trainer.logger",
    "trainer.num_sanity_val_steps",
)
TELL_OF_BASELINES = ("model.", "data.aspect", "data.image_size", "data.patient_key", "protocol.")
REFERENCE = re.compile(r"\$\{([\w.]+)\}")  # of one setting to another
LEVELS = 3  # of folders from multirun/ to a run: date, time, run
AGREES = 0.005  # accuracy of predictions.csv may differ from metrics.json by rounding, not by more


def find_runs(root: Path) -> list[Path]:
    """Returns the run folders that root is or holds, sorted.

    ``root`` is a run, a sweep, or a folder of runs, sweeps and such folders, LEVELS deep. Left out
    are links, folders `report` and those that start with a dot.

    Raises:
        FileNotFoundError: ``root`` is not a folder.
        ValueError: it holds a folder that is none of these.
    """
    if not root.is_dir():
        raise FileNotFoundError(
            f"DIR must be a folder with runs; got {root}, which is not there; "
            "give the folder of a sweep or of one run, as under multirun/"
        )
    return _runs_in(root, root=root, in_sweep=False)


def _runs_in(folder: Path, *, root: Path, in_sweep: bool) -> list[Path]:
    if _is_run(folder):
        return [folder]
    inner = sorted(
        path
        for path in folder.iterdir()
        if path.is_dir() and not path.is_symlink() and path.name[0] != "." and path.name != "report"
    )
    in_sweep = in_sweep or (folder / run_folder.SWEEP).is_file()  # where other folders may lie
    too_deep = len(folder.relative_to(root).parts) == LEVELS
    if not in_sweep and folder != root and (too_deep or not inner) and any(folder.iterdir()):
        raise ValueError(
            f"DIR must be a run, a sweep, or a folder of these alone; {root} holds "
            f"{folder.relative_to(root)}, which is none. Name the runs' or the sweeps' own folders"
        )
    if too_deep:
        return []
    return [run for path in inner for run in _runs_in(path, root=root, in_sweep=in_sweep)]


def _is_run(folder: Path) -> bool:
    marks = ("status.json", "metrics.json", run_folder.CONFIG)
    return any((folder / mark).is_file() for mark in marks)


def read_run(path: Path, *, name: str) -> Trial | Problem:
    """The trial in a run folder, or why there is none; no content of the folder raises."""
    metrics: dict[str, Any] = {}

    def left_out(state: str, reason: str) -> Problem:
        about = run_folder.identity(path)
        known = {key: metrics[key] for key in about if isinstance(metrics.get(key), int | str)}
        return Problem(name, state, reason, **(about | known))

    try:
        status = _json(path / "status.json")
        metrics = _json(path / "metrics.json")
    except ValueError as error:
        return left_out("unreadable", str(error))
    state = str(status.get("status", "unfinished"))
    if state != "done":
        return left_out(state, _unfinished(status))
    if not metrics:
        return left_out("unreadable", "says done, but has no metrics.json")
    if metrics.get("schema") != run_folder.SCHEMA:
        return left_out(
            "other schema",
            f"metrics.json has schema {metrics.get('schema')}, this report reads "
            f"{run_folder.SCHEMA}; report it with the version that wrote it",
        )
    if wrong := what_is_wrong(metrics):
        return left_out("unreadable", f"metrics.json has {wrong}; run it again")
    return _trial(path, name=name, metrics=metrics, status=status)


def _trial(path: Path, *, name: str, metrics: dict[str, Any], status: dict[str, Any]) -> Trial:
    remarks = []
    config = _config(path)
    told = _settings(config)
    if metrics.get("baseline") is True:
        told = {key: value for key, value in told.items() if key.startswith(TELL_OF_BASELINES)}
    trial = Trial(name, metrics | assessments.read(path, metrics), status, told=told)
    try:
        test, val = _predictions(path / "predictions.csv")
        _check_agreement(trial, label=test.label, probability=test.probability)
        trial = replace(trial, test=test, val=val, ensembles=_ensembles(config))
    except (OSError, ValueError, csv.Error) as error:
        remarks.append(f"no interval and no curve: {error}")
    undefined = [s for s in SCORES if np.isnan(trial.score("best", "test", s))]
    if undefined:
        gone = [c for c in CLASS_NAMES if trial.count("test", c) == 0]
        why = f"the test split has no {' and no '.join(gone)}" if gone else "not a number"
        remarks.append(f"{', '.join(undefined)} undefined ({why}): left out of the summary")
    return replace(trial, remarks=tuple(remarks))


def _config(path: Path) -> dict[str, Any]:
    """The configuration that a run left; {} where there is none to read."""
    try:
        return run_folder.read_config(path)
    except (OSError, ValueError):
        return {}


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a run was told that bears on what it learns, flat."""
    flat = run_folder.flat(config)
    return {
        key: _resolved(value, flat)
        for key, value in flat.items()
        if not key.startswith(TELL_NOTHING)
    }


def _ensembles(config: Mapping[str, Any]) -> dict[str, list[str]]:
    """What a run's configuration names as ensembles: members by name; {} where that is no such."""
    named = config.get("ensembles") or {}
    whole = isinstance(named, Mapping) and all(
        isinstance(members, list) and all(isinstance(one, str) for one in members)
        for members in named.values()
    )
    return {str(name): members for name, members in named.items()} if whole else {}


def _resolved(value: Any, flat: Mapping[str, Any], *, most: int = 8) -> Any:
    """What ``${data.image_size}`` stands for; resolvers, as ``${oc.env:…}``, stay unread."""
    while most and isinstance(value, str) and (named := REFERENCE.fullmatch(value)):
        if named[1] not in flat:
            break
        value, most = flat[named[1]], most - 1
    return value


def _predictions(path: Path) -> tuple[Predictions, Predictions]:
    """Those of the test split, and of the validation split where all of that can be used."""
    try:
        text = untrusted.read_text(path, limit=untrusted.MAX_TABLE)
    except FileNotFoundError:
        raise FileNotFoundError("predictions.csv is missing") from None
    header, *rows = csv.reader(io.StringIO(text, newline="")) if text else [[]]
    if lacking := {"path", "split", "label", "p_pneumonia", "patient"} - set(header):
        raise ValueError(f"predictions.csv lacks the column {', '.join(sorted(lacking))}")
    rows = [row for row in rows if len(row) == len(header)]
    try:
        val = _of_split("val", header, rows)
        known = bool(((val.probability >= 0) & (val.probability <= 1)).all())
    except ValueError:
        known = False
    return _of_split("test", header, rows), val if known else Predictions()


def _of_split(wanted: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> Predictions:
    """The rows of one split, sorted by path; ValueError for a label or a number that is none."""
    name, split, label, probability, patient = (
        header.index(c) for c in ("path", "split", "label", "p_pneumonia", "patient")
    )
    own = sorted((row for row in rows if row[split] == wanted), key=lambda row: row[name])
    if strange := {row[label] for row in own} - set(CLASS_NAMES):
        raise ValueError(f"predictions.csv has a label {min(strange)!r}")
    code = {name: index for index, name in enumerate(dict.fromkeys(row[patient] for row in own))}
    return Predictions(
        np.array([row[name] for row in own], dtype=np.str_),
        np.array([CLASS_NAMES.index(row[label]) for row in own], dtype=np.int64),
        np.array([row[probability] or "nan" for row in own], dtype=np.float64),
        np.array([code[row[patient]] for row in own], dtype=np.int64),
    )


def _check_agreement(trial: Trial, *, label: Array, probability: Array) -> None:
    """Raises ValueError if predictions and metrics.json cannot be of the same epoch and images."""
    images = trial.count("test", "images")
    if np.isfinite(images) and images != label.size:
        raise ValueError(f"predictions.csv has {label.size:,} of {images:,.0f} test images")
    if unknown := int(np.isnan(probability).sum()):
        raise ValueError(f"{unknown:,} of the probabilities in predictions.csv are not a number")
    if not ((probability >= 0) & (probability <= 1)).all():
        raise ValueError("predictions.csv must hold probabilities from 0 to 1")
    accuracy, written = (
        scores(label, probability)["accuracy"],
        trial.score("best", "test", "accuracy"),
    )
    if abs(accuracy - written) > AGREES:
        raise ValueError(
            f"predictions.csv gives an accuracy of {accuracy:.3f}, metrics.json says {written:.3f}"
        )


def _json(path: Path) -> dict[str, Any]:
    """The object in a JSON file, {} if there is no file; ValueError if it is anything else."""
    try:
        return untrusted.read_json(path)
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise ValueError(f"{str(error).replace(str(path), path.name)}; run it again") from None


def _unfinished(status: Mapping[str, Any]) -> str:
    if not status:
        return "no status.json, so it is not known to have finished; start it again"
    error = str(status.get("error") or "").strip()
    at = f"at epoch {status.get('epoch', '?')} of {status.get('max_epochs', '?')}"
    return f"{at}: {error.splitlines()[-1]}" if error else at
