"""metrics.json as types, and the check of a file against them."""

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


class Epoch(TypedDict):
    """The scores of one epoch by split."""

    epoch: int  # from 0
    test: dict[str, Any]


class Selection(TypedDict):
    """How the epoch was chosen."""

    on: NotRequired[str | None]  # a split, or none
    monitor: NotRequired[str | None]


class Machine(TypedDict):
    """The machine that trained."""

    device: NotRequired[str | None]


class Metrics(TypedDict):
    """metrics.json: the keys that readers use. Those of networks are missing for baselines."""

    model: str
    protocol: str
    data: Data
    best: Epoch  # the chosen one
    last: Epoch
    decision: NotRequired[Literal["argmax", "balanced", "sensitivity"] | None]  # of classifiers
    task: NotRequired[str | None]
    recipe: NotRequired[str | None]  # the name of an experiment's settings
    init: NotRequired[dict[str, str] | None]  # the run whose weights the training started from
    confidence: NotRequired[float | None]  # of a detector's boxes
    baseline: NotRequired[bool | None]
    seed: NotRequired[int | None]
    fold: NotRequired[int | None]
    num_classes: NotRequired[int | None]
    history: NotRequired[list[dict[str, Any]] | None]
    hyperparameters: NotRequired[dict[str, Any] | None]
    preprocessing: NotRequired[dict[str, Any] | None]
    machine: NotRequired[Machine | None]
    seconds: NotRequired[dict[str, Any] | None]
    selection: NotRequired[Selection | None]
    parameters: NotRequired[float | None]
    multiply_adds: NotRequired[float | None]
    assessment: NotRequired[dict[str, Any] | None]
    versions: NotRequired[dict[str, str] | None]
    git_commit: NotRequired[str | None]


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
            f"with python -m pneumo.train resume={run_dir}"
        ) from None
    if metrics.get("schema") != run_folder.SCHEMA:
        raise ValueError(
            f"{path} must have schema {run_folder.SCHEMA}; got {metrics.get('schema')}"
        )
    if wrong := mismatch(metrics, Metrics):
        raise ValueError(
            f"{path} must have the keys that pneumo.train writes; got {wrong}. {COPY_AGAIN}"
        )
    return cast(Metrics, metrics)


def mismatch(content: Any, kind: Any) -> str | None:
    """Returns the first key of a JSON file's content that does not fit a TypedDict, or None.

    >>> mismatch({"on": 1}, Selection)
    'on: Input should be a valid string'
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


def how_chosen(selection: Mapping[str, Any] | Selection) -> str:
    """Returns how a run's epoch was chosen, from the key selection of metrics.json."""
    if selection["on"] == "none":
        return "the last, nothing selected"
    return f"chosen by {selection['monitor']} on the {selection['on']} split"
