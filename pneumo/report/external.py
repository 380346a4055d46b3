"""The scores of one run on a random split, on the set's own test split, and on other images."""

from collections.abc import Mapping
from typing import Any

from pneumo.report.trials import number
from pneumo.report.wording import decimal, interval
from pneumo.runs.run import Run

RANDOM, OFFICIAL, EXTERNAL = COLUMNS = ("random", "official", "external")
OF_PROTOCOL = {"official": OFFICIAL, "own": OFFICIAL}  # others split the images at random


def of_run(run: Run, assessment: Mapping[str, Any] | None) -> dict[str, str]:
    """Returns the AUROC of a run by COLUMNS; "" if missing, as all without its assessment.

    Raises:
        FileNotFoundError, ValueError: the run is broken, or a result is of other weights.
    """
    cells = dict.fromkeys(COLUMNS, "")
    if assessment is not None:
        cells[OF_PROTOCOL.get(run.metrics["protocol"], RANDOM)] = _text(assessment)
        results = run.external.items()
        named = (f"{name} {_text(result['assessment'])}" for name, result in results)
        cells[EXTERNAL] = "; ".join(named)
    return cells


def _text(assessment: Mapping[str, Any]) -> str:
    auroc = assessment["scores"].get("auroc")
    value, low, high = (number(auroc, key) for key in ("value", "low", "high"))
    return f"{decimal(value)} ({interval(low, high)})"
