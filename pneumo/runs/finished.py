"""What a finished run says of itself: metrics.json and its tables, read and checked for all."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pneumo import untrusted
from pneumo.runs import run_folder

if TYPE_CHECKING:  # half a second that the report of new runs need not wait for
    import pandas as pd

NUMBER = (int, float)
NEEDED: dict[str, type] = {
    "model": str,
    "protocol": str,
    "data": dict,
    "data.kind": str,
    "best": dict,
    "best.epoch": int,
    "best.test": dict,
    "last": dict,
    "last.test": dict,
}
# Null or missing in the run of a baseline
OPTIONAL: dict[str, type | tuple[type, ...]] = {
    "seed": int,
    "fold": int,
    "num_classes": int,
    "data.images": int,
    "data.patients": int,
    "data.splits": dict,
    "data.splits.*": dict,
    "data.splits.*.*": int,
    "data.note": str,
    "data.root_name": str,
    "data.patient_key": str,
    "data.licence": str,
    "data.population": str,
    "data.ages": list,
    "data.ages.*": int,
    "data.split_sha256": str,
    "data.index_sha256": str,
    "best.*": (dict, int),
    "last.*": (dict, int),
    "last.epoch": int,
    "history": list,
    "history.*": dict,
    "hyperparameters": dict,
    "preprocessing": dict,
    "machine": dict,
    "machine.device": str,
    "seconds": dict,
    "selection": dict,
    "selection.on": str,
    "selection.monitor": str,
    "parameters": NUMBER,
    "multiply_adds": NUMBER,
    "assessment": dict,
    "versions": dict,
    "versions.*": str,
    "git_commit": str,
}


def read_metrics(run_dir: Path) -> dict[str, Any]:
    """Returns metrics.json of a finished run.

    Raises:
        FileNotFoundError: the run is not finished.
        ValueError: it is broken, of another schema, or lacks what every run has.
    """
    path = Path(run_dir, "metrics.json")
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
    if wrong := what_is_wrong(metrics):
        raise ValueError(
            f"{path} must say what a run of pneumo.train says; it has {wrong}. Take the run folder "
            "anew from where it was trained"
        )
    return metrics


def how_chosen(selection: Mapping[str, Any]) -> str:
    """Returns how a run's epoch was chosen, by the key selection of metrics.json."""
    if selection["on"] == "none":
        return "the last, nothing selected"
    return f"chosen by {selection['monitor']} on the {selection['on']} split"


def what_is_wrong(metrics: Mapping[str, Any]) -> str | None:
    """Returns the first key of metrics.json that is missing or of another type, or None."""
    for key, kind in (NEEDED | OPTIONAL).items():
        for value in _values(metrics, key.split(".")):
            if not isinstance(value, kind) and not (value is None and key in OPTIONAL):
                return f"no {key}" if value is None else f"a {type(value).__name__} as {key}"
    return None


def _values(value: Any, steps: Sequence[str]) -> list[Any]:
    """Returns what lies under a key, each of them where a step is *; None for what is not there."""
    if not steps:
        return [value]
    first, rest = steps[0], steps[1:]
    if first == "*":
        children = value.values() if isinstance(value, Mapping) else value or []
        return [found for child in children for found in _values(child, rest)]
    return _values(value.get(first) if isinstance(value, Mapping) else None, rest)


def read_csv(
    path: Path, columns: Sequence[str], *, kind: str = "run", row: str = "image"
) -> "pd.DataFrame":
    """Returns a table of a run folder, or its packed form, as text; "" in rows that are cut off.

    Args:
        path: of the table.
        columns: that it must have.
        kind: what leaves such a table: a finished run or detector.
        row: what it has a row for.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is broken or cut off, or lacks one of ``columns``.
    """
    import pandas as pd

    try:
        data = untrusted.read_bytes_or_gzip(path, limit=untrusted.MAX_TABLE)
    except FileNotFoundError:
        raise FileNotFoundError(f"a finished {kind} has {path.name}; no file {path}") from None
    try:
        table = pd.read_csv(io.BytesIO(data), keep_default_na=False, dtype=str)
    except ValueError as error:
        raise ValueError(f"{path} must be a table; it is broken: {error}") from None
    if not data.endswith(b"\n"):  # half a number would be taken for one
        raise ValueError(
            f"{path} must end with a whole line; it is cut off. Take the run folder anew from "
            "where it was trained"
        )
    if missing := [name for name in columns if name not in table]:
        raise ValueError(f"{path} must have a row for each {row}; it lacks {', '.join(missing)}")
    return table.fillna("")  # of a row that is cut off


def read_table(path: Path, columns: Sequence[str], *, labels: Sequence[str]) -> "pd.DataFrame":
    """Returns split.csv (or split.csv.gz) or predictions.csv as text, a row for each image.

    Raises:
        FileNotFoundError, ValueError: as read_csv; or it lacks path or label, holds another label,
            a path twice, or one that leads out of the folder of the images.
    """
    import pandas as pd

    table = read_csv(path, columns)
    wrong = not table["label"].isin(labels).all() or table["path"].duplicated().any()
    if wrong or not isinstance(table.index, pd.RangeIndex):
        raise ValueError(
            f"{path} must have a row for each image; it holds other labels, or a path twice"
        )
    for name in table["path"]:
        if untrusted.leads_out(name):
            raise ValueError(
                f"the paths in {path} must lead to images within their folder; got {name!r}"
            )
    return table
