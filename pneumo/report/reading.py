"""Run folders to trials: scores and settings of finished runs, and why others are left out."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pneumo.evaluation.scores import SCORES, scores
from pneumo.labels import CLASS_NAMES
from pneumo.report import assessments
from pneumo.report.trials import Predictions, Problem, Trial
from pneumo.runs import run_folder
from pneumo.runs.finished import read_metrics, read_table

if TYPE_CHECKING:
    import pandas as pd

# Settings that do not affect training, or that are reported separately. The digest of the data
# set's table stands for the data.
IRRELEVANT = (
    *run_folder.MAY_CHANGE,
    "data.on_unknown_name",
    "data.source",
    "protocol.select_on",
    "trainer.callbacks",
    "trainer.enable_model_summary",
    "trainer.logger",
    "trainer.num_sanity_val_steps",
)
INCIDENTAL = ("seed", "fold", "dir", "path", "workers", "devices", "accelerator", "threads", "name")
OF_BASELINES = ("model.", "data.aspect", "data.image_size", "data.patient_key", "protocol.")
REFERENCE = re.compile(r"\$\{([\w.]+)\}")  # of one setting to another
MAX_REFERENCES = 8  # followed one after another
LEVELS = 3  # of folders from multirun/ to a run: date, time, run
AGREES = 0.005  # accuracy of predictions.csv may differ from metrics.json by rounding only


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
    status = run_folder.read_status(path)
    try:
        if status["status"] == "done":
            return _trial(path, name=name, status=status)
        state, reason = status["status"], _why_unfinished(status)
    except (OSError, ValueError) as error:
        state, reason = "unreadable", _without_folder(error, path)
    return Problem(
        name, "unfinished" if state == "new" else state, reason, **run_folder.identity(path)
    )


def _trial(path: Path, *, name: str, status: Mapping[str, Any]) -> Trial:
    metrics = read_metrics(path)
    config = run_folder.read_config(path)
    trial = Trial(
        name, metrics | assessments.read(path, metrics), status, _settings(config, metrics)
    )
    remarks = []
    try:
        test, val = _predictions(path / "predictions.csv")
        _check_agreement(trial, test)
        trial = replace(trial, test=test, val=val, ensembles=_ensembles(config))
    except (OSError, ValueError) as error:
        remarks.append(f"no interval and no curve: {_without_folder(error, path)}")
    written = [score for score in SCORES if score in trial.metrics["best"]["test"]]
    if undefined := [s for s in written if np.isnan(trial.score("best", "test", s))]:
        missing = [c for c in CLASS_NAMES if trial.count("test", c) == 0]
        why = f"the test split has no {' and no '.join(missing)}" if missing else "not a number"
        remarks.append(f"{', '.join(undefined)} undefined ({why}): left out of the summary")
    return replace(trial, remarks=tuple(remarks))


def _settings(config: Mapping[str, Any], metrics: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that make two runs of one network incomparable if they differ, flat."""
    selection = metrics.get("selection") or {}
    flat = run_folder.flat(config)
    settings = {
        key: _resolved(value, flat)
        for key, value in flat.items()
        if not key.startswith(IRRELEVANT)
        and not key.rpartition(".")[2].endswith(INCIDENTAL)
        and (not metrics.get("baseline") or key.startswith(OF_BASELINES))
    }
    chosen = {"chosen_on": selection.get("on"), "chosen_by": selection.get("monitor")}
    return chosen | settings


def _resolved(value: Any, flat: Mapping[str, Any]) -> Any:
    """The value that ``${data.image_size}`` refers to; numbers as float, so that 1 equals 1.0.

    Resolvers, as ``${oc.env:…}``, stay unresolved.
    """
    for _ in range(MAX_REFERENCES):
        reference = REFERENCE.fullmatch(value) if isinstance(value, str) else None
        if reference is None or reference[1] not in flat:
            break
        value = flat[reference[1]]
    return float(value) if type(value) is int else value


def _ensembles(config: Mapping[str, Any]) -> dict[str, list[str]]:
    """The members of each ensemble of a run's configuration, by name; {} if malformed."""
    ensembles = config.get("ensembles") or {}
    valid = isinstance(ensembles, Mapping) and all(
        isinstance(members, list) and all(isinstance(member, str) for member in members)
        for members in ensembles.values()
    )
    return {str(name): members for name, members in ensembles.items()} if valid else {}


def _predictions(path: Path) -> tuple[Predictions, Predictions]:
    """Predictions of the test and of the validation split."""
    import pandas as pd

    columns = ["path", "split", "label", "p_pneumonia", "patient"]
    table = read_table(path, columns, labels=CLASS_NAMES).sort_values("path")
    table["p_pneumonia"] = pd.to_numeric(table["p_pneumonia"], errors="coerce")
    if not table["p_pneumonia"].between(0, 1).all():
        raise ValueError("predictions.csv must hold probabilities from 0 to 1")
    return _of_split(table, "test"), _of_split(table, "val")


def _of_split(table: "pd.DataFrame", split: str) -> Predictions:
    rows = table[table["split"] == split]
    return Predictions(
        rows["path"].to_numpy(np.str_),
        rows["label"].map(CLASS_NAMES.index).to_numpy(np.int64),
        rows["p_pneumonia"].to_numpy(np.float64),
        rows["patient"].factorize()[0],
    )


def _check_agreement(trial: Trial, test: Predictions) -> None:
    """Raises ValueError if predictions and metrics.json are not of the same epoch and images."""
    images = trial.count("test", "images")
    if np.isfinite(images) and images != test.label.size:
        raise ValueError(f"predictions.csv has {test.label.size:,} of {images:,.0f} test images")
    accuracy = scores(test.label, test.probability)["accuracy"]
    written = trial.score("best", "test", "accuracy")
    if abs(accuracy - written) > AGREES:
        raise ValueError(
            f"predictions.csv gives an accuracy of {accuracy:.3f}, metrics.json has {written:.3f}"
        )


def _without_folder(error: Exception, path: Path) -> str:
    return str(error).replace(f"{path}/", "").replace(str(path), "the folder")


def _why_unfinished(status: Mapping[str, Any]) -> str:
    if status["status"] == "new":
        return "no readable status.json; start the run again"
    error = str(status.get("error") or "").strip()
    at = f"at epoch {status['epoch']} of {status['max_epochs']}"
    return f"{at}: {error.splitlines()[-1]}" if error else at
