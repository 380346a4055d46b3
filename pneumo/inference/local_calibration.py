"""Threshold and temperature of a run for a new site, from a few labelled images of it.

A file beside the run, `RUN/calibrations/NAME.json`, that `predict --calibration` reads.
"""

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, cast

import numpy as np
import pandas as pd
from pydantic import Field
from typing_extensions import TypedDict

from pneumo import untrusted
from pneumo.choices import SENSITIVITY
from pneumo.data.labelled import join_duplicates
from pneumo.evaluation.assessment import MIN_PATIENTS, counts, labels
from pneumo.evaluation.intervals import LEVEL, few_patients, warning, with_intervals
from pneumo.evaluation.metrics import Array, sensitivity_threshold, youden_threshold
from pneumo.evaluation.operating_point import fitted_temperature
from pneumo.evaluation.ranking import not_shown
from pneumo.evaluation.scores import CLINICAL, operating_point
from pneumo.inference.conformal import one_per_patient
from pneumo.inference.ensemble import mean_operating_point
from pneumo.inference.leakage import new_images
from pneumo.inference.networks import Networks
from pneumo.labels import CLASS_NAMES
from pneumo.runs import run_folder
from pneumo.runs.metrics import mismatch
from pneumo.runs.network import weights_digest
from pneumo.runs.run import Run

SCHEMA = 2
SIZES = (10, 25, 50, 100, 200, 400, 800, 1600)  # images, of the curve of their value
DRAWS = 200  # of patients, for each size
FOREIGN = "names, PatientID and identical images"  # if not every name holds the patient
SHOWN = ("threshold", "sensitivity", "specificity", "temperature")
Share = Annotated[float, Field(ge=0, le=1)]


class Probabilities(TypedDict):
    """Of one image of each patient, by label."""

    NORMAL: list[Share]
    PNEUMONIA: list[Share]


class LocalCalibration(TypedDict):
    """The keys of such a file that `predict --calibration` uses."""

    schema: Literal[2]
    name: NotRequired[str]  # of the file
    threshold: Share  # on the raw probability of PNEUMONIA
    temperature: Annotated[float, Field(ge=0.01, le=100)]
    weights_sha256: str
    probabilities: Probabilities
    shared_with_train: NotRequired[str | None]  # of the images, such as "2 patients (…)"
    warning: NotRequired[str | None]  # of too few patients
    ranking: NotRequired[str | None]  # why no threshold helps, see pneumo.evaluation.ranking


def fit_point(label: Array, probability: Array, *, sensitivity: float | None) -> dict[str, float]:
    """Returns threshold and temperature of (N,) labels and raw probabilities of PNEUMONIA.

    ``sensitivity``: at least this on these images; None: the greatest Youden index.
    """
    return {
        "threshold": youden_threshold(label, probability)
        if sensitivity is None
        else sensitivity_threshold(label, probability, sensitivity=sensitivity),
        "temperature": fitted_temperature(label, probability, smoothed=True),
    }


def check_patients(table: pd.DataFrame) -> None:
    """Raises ValueError if a label has fewer than 5 patients, by the column group."""
    for name in CLASS_NAMES:
        number = table.loc[table["label"] == name, "group"].nunique()
        if number < MIN_PATIENTS:
            raise ValueError(
                f"a calibration needs distinct images of at least {MIN_PATIENTS} patients of each "
                f"label; got {number} of {name}. Label more, or give predict --threshold"
            )


def without_copies(table: pd.DataFrame, content: Sequence[str]) -> pd.DataFrame:
    """Returns the first image of each content, patients who share one being one group.

    ``content`` is equal for images that are copies of one another, see Networks.score_files.
    ValueError: copies of one image have both labels.
    """
    table = table.assign(group=join_duplicates(table, content), content=content)
    both = table[table.groupby("content")["label"].transform("nunique") > 1]
    if len(both):
        same = both.loc[both["content"] == both["content"].iloc[0], "path"]
        raise ValueError(
            f"--data must have an image under one label; {same.iloc[0]} and {same.iloc[-1]} have "
            "the same pixels. Remove the wrong one"
        )
    return table.drop_duplicates("content").drop(columns="content")


def describe(table: pd.DataFrame, *, sensitivity: float | None) -> dict[str, Any]:
    """Returns the part of the file that describes the images.

    ``table``: path, label, group (who) and p_pneumonia of each local image, see `without_copies`.
    ValueError: fewer than 5 patients of a label. ``sensitivity``: see `fit_point`.
    """
    check_patients(table)
    label, probability = labels(table), table["p_pneumonia"].to_numpy(np.float64)
    few = ["these images"] if few_patients(label, patient=table["group"]) else []
    return {
        "schema": SCHEMA,
        "rule": f"sensitivity {sensitivity:g}" if sensitivity else "the greatest Youden index",
        **fit_point(label, probability, sensitivity=sensitivity),
        **counts(table),
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
    """Returns median, low, high of SHOWN by number of images: each of ``sizes``, and all.

    Patients are drawn with replacement until they have n images; threshold and temperature are
    fitted on these and scored on the patients not drawn, DRAWS times. A draw counts only where both
    of its parts have both labels; ``draws`` is how many do. low and high are the central 95 % of
    these, no confidence interval: they vary with how few the scored images are, too, and where no
    draw makes an error they have no width.
    """
    indices = pd.DataFrame({"who": patient}).groupby("who").indices
    of_patient = [np.asarray(places) for places in indices.values()]
    ends = {"median": 0.5, "low": (1 - LEVEL) / 2, "high": (1 + LEVEL) / 2}
    rows: list[dict[str, Any]] = []
    for size in [n for n in sizes if n < label.size] + [int(label.size)]:
        rng, scores = np.random.default_rng(0), []
        for _ in range(DRAWS):
            used, left = drawn(of_patient, size=size, rng=rng)
            if len(set(label[used])) == len(set(label[left])) == len(CLASS_NAMES):
                point = fit_point(label[used], probability[used], sensitivity=sensitivity)
                at = {"threshold": point["threshold"]}
                scores.append(point | operating_point(label[left], probability[left], **at))
        table = pd.DataFrame(scores, columns=[*SHOWN]).quantile([*ends.values()])
        values: dict[Any, Any] = table.set_axis([*ends]).to_dict() if scores else {}
        rows.append({"images": size, "draws": len(scores), **values})
    return rows


def drawn(
    of_patient: Sequence[Array], *, size: int, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Returns the images of patients drawn until they are ``size`` or more, and all others."""
    picked: list[Array] = []
    while sum(map(len, picked)) < size:
        picked.append(of_patient[int(rng.integers(len(of_patient)))])
    used = np.concatenate(picked)
    return used, np.setdiff1d(np.concatenate(of_patient), used)


def at_threshold(table: pd.DataFrame, threshold: float) -> dict[str, dict[str, float]]:
    """Returns sensitivity and specificity of the local images, with intervals over patients."""
    names = {name: CLINICAL[name] for name in ("sensitivity", "specificity")}
    at: dict[str, Any] = {"patient": table["group"], "threshold": threshold, "names": names}
    return with_intervals(labels(table), table["p_pneumonia"], **at)


def calibrate(
    run: Run,
    data: Path,
    *,
    sensitivity: float | None = SENSITIVITY,
    allow_overlap: bool = False,
    force: bool = False,
    trust: Sequence[str] = (),
) -> dict[str, Any]:
    """Returns the content of the file: threshold, temperature, and the value of so many images.

    ``data``: a folder with NORMAL and PNEUMONIA in it, or one like the set. ``sensitivity``: see
    `fit_point`. ``allow_overlap``: with the run's train split; ``force``: although the images show
    no ranking (pneumo.evaluation.ranking); the file records both.

    Raises:
        FileNotFoundError, ValueError: the run is broken or has no network; the folder has too few
            images of a label, shares some with the train split, or shows no ranking.
        UnreadableError: an image cannot be read.
    """
    root, table, overlaps = new_images(
        [run],
        data,
        allow_overlap=allow_overlap,
        instead="A threshold would be optimistic: leave them out, or, if these names are of other "
        "patients, give --allow-overlap",
    )
    table = table.assign(group=table["patient"])
    check_patients(table)  # before any image is scored
    networks = Networks([run], checkpoint="best", trust=trust)
    files = networks.score_files(root, table["path"].tolist())
    table = table.assign(p_pneumonia=files.probability[0])
    scored = without_copies(table, files.content)
    ranking = not_shown(labels(scored), scored["p_pneumonia"], patient=scored["group"])
    if ranking and not force:
        raise ValueError(f"{ranking}. Nothing was written; to write the file all the same: --force")
    content = describe(scored, sensitivity=sensitivity)
    threshold = mean_operating_point([run]).threshold
    return {
        **content,
        "ranking": ranking,
        "here": at_threshold(scored, content["threshold"]),
        "own_threshold": threshold,
        "own_here": at_threshold(scored, threshold),
        "data": data.resolve().name,
        "copies": len(table) - len(scored),
        "patients_by": FOREIGN if (table["known_by"] != "name").any() else "names",
        "shared_with_train": " and ".join(
            f"{each.shared} with the train split of {each.of}" for each in overlaps if each.shared
        ),
        "compared": "; ".join(f"{each.of}: {each.compared}" for each in overlaps),
        "run": run.name,
        "weights_sha256": weights_digest(networks.networks[0]),
        "pneumo": version("pneumo"),
    }


def read_calibration(run_dir: Path, name: str, *, weights_sha256: str) -> LocalCalibration:
    """Returns a calibration of a run: NAME in its folder, or a FILE.

    Raises:
        FileNotFoundError: there is none of that name.
        ValueError: it is broken, or of other weights.
    """
    is_file = name.endswith(".json") or len(Path(name).parts) > 1
    path = Path(name) if is_file else run_dir / run_folder.CALIBRATIONS / f"{name}.json"
    try:
        content = untrusted.read_json(path)
    except FileNotFoundError:
        names = sorted(path.stem for path in (run_dir / run_folder.CALIBRATIONS).glob("*.json"))
        raise FileNotFoundError(
            f"--calibration must name a file, or one of the run's ({', '.join(names) or 'none'}); "
            f"there is no {path}. python -m pneumo.calibrate writes one"
        ) from None
    if wrong := mismatch(content, LocalCalibration):
        raise ValueError(f"{path} must be a file of python -m pneumo.calibrate; got {wrong}")
    if content["weights_sha256"] != weights_sha256:
        raise ValueError(
            f"--calibration must be of the weights that predict; {path} is of "
            f"{content.get('run')}. Run python -m pneumo.calibrate again"
        )
    return cast(LocalCalibration, content | {"name": path.stem})


def labelled_probabilities(calibration: LocalCalibration) -> tuple[Array, Array]:
    """Returns (N,) int labels and (N,) raw probabilities of one local image of each patient."""
    normal, pneumonia = (calibration["probabilities"][name] for name in ("NORMAL", "PNEUMONIA"))
    return np.repeat([0, 1], [len(normal), len(pneumonia)]), np.array([*normal, *pneumonia])
