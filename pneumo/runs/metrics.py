"""metrics.json, stress.json and external/NAME.json as types, and the check of files against them.

A key that is missing or null in files of baselines or of other versions is NotRequired.
"""

import shlex
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal, NotRequired, cast

from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict  # pydantic requires this one before Python 3.12

from pneumo import untrusted
from pneumo.runs import run_folder

COPY_AGAIN = "Copy the run folder again from where it was trained"


class Data(TypedDict):
    """The data set of a run."""

    kind: str  # kermany, folder, phantom …
    images: NotRequired[int | None]
    patients: NotRequired[int | None]
    splits: NotRequired[dict[str, dict[str, int] | None] | None]
    note: NotRequired[str | None]
    root_name: NotRequired[str | None]
    patient_key: NotRequired[str | None]
    licence: NotRequired[str | None]
    population: NotRequired[str | None]
    ages: NotRequired[list[int] | None]  # years
    split_sha256: NotRequired[str | None]
    index_sha256: NotRequired[str | None]
    images_sha256: NotRequired[str | None]  # of the paths and the bytes of all images
    labels_sha256: NotRequired[str | None]  # of the paths, labels and boxes


class Epoch(TypedDict):
    """The scores of one epoch by split."""

    epoch: int  # from 0
    test: dict[str, Any]


class Metrics(TypedDict):
    """metrics.json: the keys that readers use."""

    schema: Literal[1]
    model: str
    protocol: str
    data: Data
    best: Epoch  # the chosen one
    last: Epoch
    decision: NotRequired[Literal["argmax", "balanced", "sensitivity"] | None]  # of classifiers
    task: NotRequired[str | None]
    recipe: NotRequired[str | None]  # the name of an experiment's settings
    init: NotRequired[dict[str, str] | None]  # the run whose weights the training started from
    confidence: NotRequired[float | None]  # of a detector's boxes, from 0 to 1
    baseline: NotRequired[bool | None]
    seed: NotRequired[int | None]
    fold: NotRequired[int | None]
    num_classes: NotRequired[int | None]
    history: NotRequired[list[dict[str, Any]] | None]
    hyperparameters: NotRequired[dict[str, Any] | None]
    preprocessing: NotRequired[dict[str, Any] | None]
    machine: NotRequired[dict[str, Any] | None]
    seconds: NotRequired[dict[str, Any] | None]
    selection: NotRequired[dict[str, Any] | None]  # on (a split, or none) and monitor
    parameters: NotRequired[float | None]
    multiply_adds: NotRequired[float | None]
    assessment: NotRequired[dict[str, Any] | None]
    versions: NotRequired[dict[str, str] | None]
    git_commit: NotRequired[str | None]


class StressScores(TypedDict):
    """Scores; null if undefined. The threshold and the temperature are the run's own."""

    auroc: float | None
    sensitivity: float | None
    specificity: float | None
    ece: float | None  # expected calibration error of the calibrated probability


class StressRow(StressScores):
    """The scores of one change at one severity."""

    corruption: str
    unit: str  # of the value
    severity: int  # from 1
    value: float


class Stress(TypedDict):
    """stress.json: a network's scores on changed images, see pneumo.inference.stress."""

    schema: Literal[1]
    split: str  # val or test
    images: int  # of a sample of the split
    of: int  # images of the split
    seed: int
    threshold: float
    clean: StressScores  # of the unchanged images
    stressed: StressScores  # means over all changes and severities, equally weighted
    drop: float | None  # of AUROC, clean minus stressed
    rows: list[StressRow]


class External(TypedDict):
    """external/NAME.json: scores on images of another source, of `evaluate --name`."""

    schema: Literal[1]
    name: str  # of the images, as the user named them
    data: str  # name of their folder
    checkpoint: str | None  # best; null for a baseline
    images: int
    patients: int
    NORMAL: int
    PNEUMONIA: int
    images_sha256: str  # of their paths and bytes
    weights_sha256: str | None  # of the network that was scored; null for a baseline
    assessment: dict[str, Any]  # see pneumo.evaluation.assessment.assess


def read_metrics(run_dir: Path) -> Metrics:
    """Returns metrics.json of a finished run.

    Raises:
        FileNotFoundError: the run is not finished.
        ValueError: the file is broken, of another schema, or a key is missing or of another type.
    """
    path = Path(run_dir, run_folder.METRICS)
    try:
        metrics = untrusted.read_json(path)
    except FileNotFoundError:
        status = run_folder.read_status(Path(run_dir))["status"]
        raise FileNotFoundError(
            f"a finished run has metrics.json; {run_dir} has none (status: {status}). Finish it "
            f"with python -m pneumo.train {shlex.quote(f'resume={run_dir}')}"
        ) from None
    if wrong := mismatch(metrics, Metrics):
        raise ValueError(
            f"{path} must have the keys that pneumo.train writes; got {wrong}. {COPY_AGAIN}"
        )
    return cast(Metrics, metrics)


def read_stress(run_dir: Path) -> Stress | None:
    """Returns stress.json; None if it is missing or broken."""
    try:
        content: Any = untrusted.read_json(run_dir / run_folder.STRESS)
    except (OSError, ValueError):
        return None
    return None if mismatch(content, Stress) else cast(Stress, content)


def read_external(path: Path) -> External:
    """Returns external/NAME.json; FileNotFoundError or ValueError: it is missing or broken."""
    content = untrusted.read_json(path)
    if wrong := mismatch(content, External):
        raise ValueError(
            f"{path} must be of python -m pneumo.evaluate RUN --data DIR --name {path.stem}; got "
            f"{wrong}. Score the images again, or delete it"
        )
    return cast(External, content)


def read_externals(run_dir: Path) -> dict[str, External]:
    """Returns the external scores in a run folder by name, sorted.

    Raises:
        ValueError: one is broken, or of other weights than those that the run has now.
    """
    paths = sorted((run_dir / run_folder.EXTERNAL).glob("*.json"))
    results = {path.stem: read_external(path) for path in paths}
    weights = _weights_sha256(run_dir) if results else None
    for name, result in results.items():
        if weights and result["weights_sha256"] not in (weights, None):
            raise ValueError(
                f"{run_dir / run_folder.EXTERNAL / name}.json must be of the run's weights; it is "
                "of others. Score the images again: python -m pneumo.evaluate RUN --data DIR "
                f"--name {name}"
            )
    return results


def _weights_sha256(run_dir: Path) -> str | None:
    """Returns the digest of the best weights as reference.npz has it, without torch; or None."""
    import numpy as np

    try:
        with np.load(run_dir / "reference.npz", allow_pickle=False) as file:
            return str(file["weights_sha256"])
    except Exception:  # a run without a reference; any error of zipfile
        return None


def mismatch(content: Any, kind: Any) -> str | None:
    """Returns the first key of a JSON file's content that does not fit a TypedDict, or None.

    >>> mismatch({"on": 1}, Data)
    'kind: Field required'
    """
    try:
        _adapter(kind).validate_python(content, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return None


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def how_chosen(selection: Mapping[str, Any]) -> str:
    """Returns how a run's epoch was chosen, from the key selection of metrics.json."""
    if selection["on"] == "none":
        return "the last, nothing selected"
    return f"chosen by {selection['monitor']} on the {selection['on']} split"
