"""What a few labelled images of one's own fix for a run: threshold, temperature, and how surely.

It is a file beside the run, `RUN/calibrations/NAME.json`, that `predict --calibration` reads.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pneumo import untrusted
from pneumo.data.labelled import join_duplicates
from pneumo.evaluation.intervals import few_patients, percentile_interval, score_intervals, warning
from pneumo.evaluation.metrics import Array, sensitivity_threshold, youden_threshold
from pneumo.evaluation.operating_point import fitted_temperature
from pneumo.evaluation.scores import CLINICAL, operating_point
from pneumo.inference.conformal import one_per_patient
from pneumo.labels import CLASS_NAMES, NORMAL, PNEUMONIA

FOLDER = "calibrations"  # in a run folder
SCHEMA = 2
SIZES = (10, 25, 50, 100, 200, 400, 800, 1600)  # images, of the curve of what they buy
DRAWS = 200  # of patients, for each size
MIN_PATIENTS = 5  # of a label; with fewer, a threshold is that of one or two patients
WARNINGS = ("shared_with_train", "warning")  # of a file, in words; absent, empty or null: none
SHOWN = ("threshold", "sensitivity", "specificity", "temperature")


@dataclass(frozen=True)
class LocalCalibration:
    """What `predict --calibration` uses of such a file."""

    name: str
    threshold: float  # on the raw probability of PNEUMONIA
    temperature: float
    rule: str
    label: Array  # (N,) int of one local image of each patient
    probability: Array  # (N,) raw, of PNEUMONIA
    shared_with_train: str = ""  # of the images, such as "2 patients (…)"
    warning: str = ""  # of too few patients


def fit_point(label: Array, probability: Array, *, sensitivity: float | None) -> dict[str, float]:
    """Threshold and temperature of (N,) labels and raw probabilities of PNEUMONIA.

    ``sensitivity``: at least this on these images; None: the greatest Youden index.
    """
    if sensitivity is None:
        threshold = youden_threshold(label, probability)
    else:
        threshold = sensitivity_threshold(label, probability, sensitivity=sensitivity)
    temperature = fitted_temperature(label, probability, smoothed=True)
    return {"threshold": threshold, "temperature": temperature}


def check_patients(table: pd.DataFrame) -> None:
    """Raises ValueError where a label has fewer than 5 patients, by the column group."""
    for name in CLASS_NAMES:
        number = table.loc[table["label"] == name, "group"].nunique()
        if number < MIN_PATIENTS:
            raise ValueError(
                f"a calibration needs distinct images of at least {MIN_PATIENTS} patients of each "
                f"label; got {number} of {name}. Label more, or give predict --threshold"
            )


def without_copies(table: pd.DataFrame, content: Sequence[str]) -> pd.DataFrame:
    """Returns the first image of each content, patients who share one being one group.

    Args:
        table: path, label and patient of each image.
        content: equal for images that are copies of one another, see `files.score_files`.

    Raises:
        ValueError: copies of one image have both labels.
    """
    table = table.assign(group=join_duplicates(table, content), content=content)
    both = table[table.groupby("content")["label"].transform("nunique") > 1]
    if len(both):
        same = both.loc[both["content"] == both["content"].iloc[0], "path"]
        raise ValueError(
            f"--data must have an image under one label; {same.iloc[0]} and {same.iloc[-1]} have "
            "the same pixels. Take the wrong one out"
        )
    return table.drop_duplicates("content").drop(columns="content")


def describe(table: pd.DataFrame, *, sensitivity: float | None) -> dict[str, Any]:
    """Returns what the file holds of the images, by name; `curve` says what so many of them buy.

    Args:
        table: path, label, group (who) and p_pneumonia of each local image, see `without_copies`.
        sensitivity: see `fit_point`.

    Raises:
        ValueError: fewer than 5 patients of a label.
    """
    check_patients(table)
    label = (table["label"] == PNEUMONIA).to_numpy(np.int64)
    probability = table["p_pneumonia"].to_numpy(np.float64)
    few = ["these images"] if few_patients(label, patient=table["group"]) else []
    asked = "the greatest Youden index" if sensitivity is None else f"sensitivity {sensitivity:g}"
    return {
        "schema": SCHEMA,
        "rule": asked,
        **fit_point(label, probability, sensitivity=sensitivity),
        "images": len(table),
        "patients": int(table["group"].nunique()),
        **{name: int((table["label"] == name).sum()) for name in CLASS_NAMES},
        "warning": warning(few),
        "curve": curve(label, probability, table["group"].to_numpy(), sensitivity=sensitivity),
        "probabilities": {  # of one image of each patient
            name: sorted(rows["p_pneumonia"].tolist())
            for name, rows in one_per_patient(table).groupby("label")
        },
    }


def curve(
    label: Array,
    probability: Array,
    patient: Array,
    *,
    sensitivity: float | None,
    sizes: Sequence[int] = SIZES,
) -> list[dict[str, Any]]:
    """What n images buy: median, low, high of SHOWN, a row for each of ``sizes`` and for all.

    Patients are drawn with replacement until they have n images; threshold and temperature are
    fitted on these and scored on the patients not drawn, DRAWS times. A draw counts only where both
    of its parts have both labels; ``draws`` is how many do. low and high are the central 95 % of
    these, no confidence interval: they vary with how few the scored images are, too, and where no
    draw makes an error they have no width.
    """
    _, who = np.unique(patient, return_inverse=True)
    of_patient = np.split(np.argsort(who, kind="stable"), np.bincount(who).cumsum()[:-1])
    rows = []
    for size in [n for n in sizes if n < label.size] + [int(label.size)]:
        rng = np.random.default_rng(0)
        draws = [drawn(of_patient, size=size, rng=rng) for _ in range(DRAWS)]
        made = [
            _fitted_and_scored(label, probability, used, left, sensitivity=sensitivity)
            for used, left in draws
            if len(set(label[used])) == len(set(label[left])) == len(CLASS_NAMES)
        ]
        row: dict[str, Any] = {"images": size, "draws": len(made)}
        for name in SHOWN if made else ():
            values = np.array([draw[name] for draw in made])
            ends = percentile_interval(values)._asdict()
            row[name] = {"median": float(np.median(values)), **ends}
        rows.append(row)
    return rows


def drawn(
    of_patient: Sequence[Array], *, size: int, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Images of patients drawn with replacement until they are ``size`` or more, and all others."""
    picked: list[int] = []
    images = 0
    while images < size:
        picked.append(int(rng.integers(len(of_patient))))
        images += of_patient[picked[-1]].size
    left = sorted(set(range(len(of_patient))) - set(picked))
    used = np.concatenate([of_patient[one] for one in picked])
    return used, np.concatenate([used[:0], *(of_patient[one] for one in left)])


def _fitted_and_scored(
    label: Array, probability: Array, used: Array, left: Array, *, sensitivity: float | None
) -> dict[str, float]:
    point = fit_point(label[used], probability[used], sensitivity=sensitivity)
    return point | operating_point(label[left], probability[left], threshold=point["threshold"])


def at_threshold(table: pd.DataFrame, threshold: float) -> dict[str, dict[str, float]]:
    """Sensitivity and specificity of the local images, with intervals over patients."""
    label = (table["label"] == PNEUMONIA).to_numpy(np.int64)
    probability = table["p_pneumonia"].to_numpy(np.float64)
    value = operating_point(label, probability, threshold=threshold)
    names = {name: CLINICAL[name] for name in ("sensitivity", "specificity")}
    found = score_intervals(
        label,
        probability,
        patient=table["group"],
        threshold=threshold,
        names=tuple(names.values()),
    )
    return {name: {"value": value[name], **found[key]._asdict()} for name, key in names.items()}


def path_of(run_dir: Path, name: str) -> Path:
    """Where the calibration lies that ``predict --calibration NAME|FILE`` names."""
    is_file = name.endswith(".json") or len(Path(name).parts) > 1
    return Path(name) if is_file else run_dir / FOLDER / f"{name}.json"


def read(run_dir: Path, name: str, *, weights_sha256: str) -> LocalCalibration:
    """Returns a calibration of a run, NAME in its folder or a FILE.

    Raises:
        FileNotFoundError: there is none of that name.
        ValueError: it is broken, or of other weights.
    """
    path = path_of(run_dir, name)
    try:
        found = untrusted.read_json(path)
    except FileNotFoundError:
        there = sorted(one.stem for one in (run_dir / FOLDER).glob("*.json"))
        raise FileNotFoundError(
            f"--calibration must name a file, or one of the run's ({', '.join(there) or 'none'}); "
            f"there is no {path}. python -m pneumo.calibrate makes one"
        ) from None
    if reason := _wrong(found):
        raise ValueError(f"{path} must be a file of python -m pneumo.calibrate; it has {reason}")
    if found["weights_sha256"] != weights_sha256:
        raise ValueError(
            f"--calibration must be of the weights that answer; {path} is of those of "
            f"{found.get('run')}. Make one: python -m pneumo.calibrate"
        )
    both = [np.array(found["probabilities"][label], dtype=np.float64) for label in CLASS_NAMES]
    return LocalCalibration(
        path.stem,
        float(found["threshold"]),
        float(found["temperature"]),
        str(found["rule"]),
        np.repeat([0, 1], [one.size for one in both]),
        np.concatenate(both),
        *(_printable(found.get(key) or "") for key in WARNINGS),
    )


def _wrong(found: Mapping[str, Any]) -> str | None:
    """What is wrong with such a file, or None."""
    if found.get("schema") != SCHEMA:
        return f"schema {found.get('schema')!r}, not {SCHEMA}"
    ranges: dict[str, Callable[[float], bool]] = {
        "threshold": lambda value: 0 <= value <= 1,
        "temperature": lambda value: 0.01 <= value <= 100,
    }
    for name, fits in ranges.items():
        if not (_is_number(found.get(name)) and fits(found[name])):
            return f"{found.get(name)!r} as {name}"
    if not isinstance(found.get("weights_sha256"), str):
        return "no weights_sha256"
    for key in WARNINGS:
        if not isinstance(found.get(key), str | None):
            return f"{found[key]!r} as {key}"
    lists = found.get("probabilities")
    for label in (NORMAL, PNEUMONIA):
        values = lists.get(label) if isinstance(lists, Mapping) else None
        if not (isinstance(values, Sequence) and all(_is_share(value) for value in values)):
            return f"no probabilities of {label}"
    return None


def _printable(text: str) -> str:
    """Text of a file that a stranger may have made, for one line of a terminal."""
    return "".join(one if one.isprintable() else "?" for one in text)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_share(value: Any) -> bool:
    return _is_number(value) and 0 <= value <= 1
