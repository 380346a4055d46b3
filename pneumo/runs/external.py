"""The scores of a run on images of other sources, which `evaluate --name` keeps in its folder."""

import zipfile
from pathlib import Path
from typing import Any, Literal, cast

from typing_extensions import TypedDict  # pydantic requires this one before Python 3.12

from pneumo import untrusted
from pneumo.runs import run_folder
from pneumo.runs.metrics import mismatch

SCHEMA = 1


class Value(TypedDict):
    """A score with its interval; null if undefined."""

    value: float | None
    low: float | None
    high: float | None


class Scores(TypedDict):
    """Of the scores of an assessment those that reports and cards show."""

    auroc: Value


class Assessment(TypedDict):
    """The part of `pneumo.evaluation.assessment.assess` that reports and cards show."""

    ranking: str | None  # why no threshold helps, see pneumo.evaluation.ranking
    scores: Scores


class External(TypedDict):
    """external/NAME.json."""

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
    assessment: Assessment


def read(path: Path) -> External:
    """Returns one result; FileNotFoundError or ValueError: it is missing or broken."""
    content = untrusted.read_json(path)
    if wrong := mismatch(content, External):
        raise ValueError(
            f"{path} must be of python -m pneumo.evaluate RUN --data DIR --name {path.stem}; got "
            f"{wrong}. Score the images again, or delete it"
        )
    return cast(External, content)


def read_all(run_dir: Path) -> dict[str, External]:
    """Returns the results in a run folder by name, sorted.

    Raises:
        ValueError: one is broken, or of other weights than those that the run has now.
    """
    results = {}
    weights = _weights_sha256(run_dir)
    for path in sorted((run_dir / run_folder.EXTERNAL).glob("*.json")):
        result = results[path.stem] = read(path)
        if weights and result["weights_sha256"] not in (weights, None):
            raise ValueError(
                f"{path} must be of the run's weights; it is of others. Score the images again: "
                f"python -m pneumo.evaluate RUN --data DIR --name {path.stem}"
            )
    return results


def _weights_sha256(run_dir: Path) -> str | None:
    """Returns the digest of the best weights as reference.npz has it, without torch; or None."""
    import numpy as np

    try:
        with untrusted.open_regular(run_dir / "reference.npz") as opened:
            untrusted.check_stored(opened)
            file: Any = np.load(opened, allow_pickle=False)
            return str(file["weights_sha256"])
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):  # a run without a reference
        return None
