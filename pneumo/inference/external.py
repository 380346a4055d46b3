"""Keeps the scores of runs on images of another source in their run folders."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from pneumo.inference.leakage import images_digest
from pneumo.inference.scoring import ScoredOn
from pneumo.labels import CLASS_NAMES
from pneumo.runs import run_folder
from pneumo.runs.metrics import External
from pneumo.runs.run import Run
from pneumo.runs.weights import weights_digest
from pneumo.runs.writer import RunWriter

KEPT = ("ranking", "interval", "scores", "operating_point")  # of an assessment
COUNTS = ("images", "patients", *CLASS_NAMES)


def checked_digest(runs: Sequence[Run], on: ScoredOn, *, name: str) -> str:
    """Returns the digest of the images; called before they are scored.

    ValueError: a run folder has scores of other images under this name, or is read-only.
    """
    assert on.root is not None
    digest = images_digest(on.root, on.table)
    for run in runs:
        RunWriter(run.run_dir).check_external(name, digest)
    return digest


def keep(
    runs: Sequence[Run],
    scores: Mapping[str, Any],
    *,
    name: str,
    images_sha256: str,
    trust: Sequence[str] = (),
) -> list[Path]:
    """Writes the scores of each run's best checkpoint as external/NAME.json; returns the paths.

    ``scores``: of `pneumo.shift.evaluation.evaluate`. ``images_sha256``: of `checked_digest`.
    """
    on = scores["scored_on"]
    paths = []
    for run, member in zip(runs, scores["members"], strict=True):
        is_baseline = bool(run.metrics.get("baseline"))
        result = {
            "schema": run_folder.SCHEMA,
            "name": name,
            "data": Path(on["what"]).resolve().name,
            "checkpoint": None if is_baseline else "best",
            **{key: on[key] for key in COUNTS},
            "images_sha256": images_sha256,
            "weights_sha256": None if is_baseline else weights_digest(run.network(trust=trust)),
            "assessment": {key: member[key] for key in KEPT},
        }
        paths.append(RunWriter(run.run_dir).write_external(cast(External, result)))
    return paths
