"""stress.json: a network's scores on changed images, see pneumo.inference.stress."""

from pathlib import Path
from typing import Any, cast

from typing_extensions import TypedDict  # pydantic requires this one before Python 3.12

from pneumo import untrusted
from pneumo.runs import run_folder
from pneumo.runs.metrics import mismatch


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
    """stress.json."""

    schema: int
    split: str  # val or test
    images: int  # of a sample of the split
    of: int  # images of the split
    seed: int
    threshold: float
    clean: StressScores  # of the unchanged images
    stressed: StressScores  # means over all changes and severities, equally weighted
    drop: float | None  # of AUROC, clean minus stressed
    rows: list[StressRow]


def read_stress(run_dir: Path) -> Stress | None:
    """Returns stress.json; None if it is missing or broken."""
    try:
        content: Any = untrusted.read_json(run_dir / run_folder.STRESS)
    except (OSError, ValueError):
        return None
    is_valid = content.get("schema") == run_folder.SCHEMA and mismatch(content, Stress) is None
    return cast(Stress, content) if is_valid else None


def number(value: float | None) -> float:
    """Returns a number of stress.json; NaN for null."""
    return float("nan") if value is None else value
