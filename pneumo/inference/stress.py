"""Scores of a network on its own images, altered as other hospitals might have taken them.

Each change of pneumo.data.corruptions is applied to validation or test images at five severities,
one change at a time. The result is one number, the drop of AUROC: that of the unchanged images
minus the mean over all changes and severities, each with the same weight. As in ImageNet-C
(Hendrycks and Dietterich, ICLR 2019) the images are of the same people with the same labels, so
that a drop is due to the changes alone.
"""

import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd
from tqdm import tqdm

from pneumo import cli
from pneumo.data.corruptions import CORRUPTIONS, Change
from pneumo.data.datamodule import draw_seed
from pneumo.evaluation.assessment import labels
from pneumo.evaluation.metrics import Array, expected_calibration_error
from pneumo.evaluation.operating_point import calibrated
from pneumo.evaluation.scores import scores
from pneumo.inference import ensemble
from pneumo.inference.networks import BATCH_SIZE, Networks, read_prepared
from pneumo.inference.scoring import own_root
from pneumo.runs import run_folder
from pneumo.runs.metrics import Stress, StressRow, StressScores
from pneumo.runs.run import Run
from pneumo.runs.writer import RunWriter

MAX_IMAGES = 500  # of a split, each of which passes through the network 71 times
SEED = 0
UNCHANGED = "none"  # in the column corruption
SCORES = ("auroc", "sensitivity", "specificity", "ece")

Predict = Callable[[np.ndarray], Array]  # (B, S, S) uint8 to (B,) probabilities of PNEUMONIA


def stress(
    predict: Predict,
    images: np.ndarray,  # (N, S, S) uint8, as the network gets them
    label: Array,  # (N,) int64, 1 for PNEUMONIA
    *,
    names: Sequence[str],  # of the N images, such as their paths
    threshold: float = 0.5,  # of sensitivity and specificity
    temperature: float | None = None,  # of the calibration error; None: not calibrated
    seed: int = SEED,  # of the draws
) -> pd.DataFrame:
    """Returns a row for each change and severity: corruption, unit, severity, value and SCORES.

    The first row is of the unchanged images, with severity 0. An image is changed the same way at
    all severities, in every run and process: the draws depend on seed, corruption and name alone.
    """

    def scored(change: Change | None = None, seeds: Sequence[int] = ()) -> StressScores:
        parts = []
        for start in range(0, len(images), BATCH_SIZE):
            batch = images[start : start + BATCH_SIZE]
            if change:
                pairs = zip(batch, seeds[start : start + BATCH_SIZE], strict=True)
                batch = np.stack([change(image, seed=seed) for image, seed in pairs])
            parts.append(predict(batch))
        p = np.concatenate(parts)
        values = scores(label, p, threshold=threshold)
        used = p if temperature is None else calibrated(p, temperature=temperature)
        return {
            "auroc": values["auroc"],
            "sensitivity": values["recall_pneumonia"],
            "specificity": values["recall_normal"],
            "ece": expected_calibration_error(label, used),
        }

    rows = [{"corruption": UNCHANGED, "unit": "", "severity": 0, "value": 0.0, **scored()}]
    for corruption in tqdm(CORRUPTIONS, "changes", unit="change", disable=None):
        seeds = [draw_seed(seed, _hash(corruption.name), _hash(name)) for name in names]
        about = {"corruption": corruption.name, "unit": corruption.unit}
        for severity, value in enumerate(corruption.severities, 1):
            values = scored(corruption.at(value), seeds)
            rows.append({**about, "severity": severity, "value": value, **values})
    return pd.DataFrame(rows)


def _hash(text: str) -> int:
    return zlib.crc32(text.encode("utf-8", "surrogateescape"))


def stress_runs(
    runs: Sequence[Run], *, split: str | None = None, trust: Sequence[str] = ()
) -> Iterator[tuple[Run, Stress]]:
    """Yields each run with its stress test, at its best checkpoint; stress.json is written.

    ``split``: val or test; None: val, or test of runs without it.

    Raises:
        FileNotFoundError, ValueError: a run is broken, a detector or a baseline, its network takes
            more than the image, its images are missing, or it has no such split. All runs are
            checked before the first is scored.
        UnreadableError: an image cannot be read.
    """
    run_folder.check_named_once([run.run_dir for run in runs])
    networks = Networks(runs, checkpoint="best", trust=trust)
    chosen = [(own_root(run), _split_of(run, split)) for run in runs]
    for place, run in enumerate(runs):
        result = _stressed(networks, place, *chosen[place])
        _keep(run, result)
        yield run, result


def _split_of(run: Run, split: str | None) -> str:
    if split is None:
        return "test" if run.of_split("val").empty else "val"
    if run.of_split(split).empty:
        raise ValueError(
            f"--split must name a split of the run; {run.name} has no {split} split "
            f"(protocol={run.metrics['protocol']}). Leave --split out"
        )
    return split


def _stressed(networks: Networks, place: int, root: Path, split: str) -> Stress:
    run = networks.runs[place]
    rows, point = run.of_split(split), ensemble.mean_operating_point([run])
    chosen = sample(rows)
    names = [str(root / path) for path in chosen["path"]]
    table = stress(
        lambda pixels: networks.pneumonia(pixels, place=place),
        read_prepared(names, shape=(run.image_size, run.aspect)),
        labels(chosen),
        names=chosen["path"].tolist(),
        threshold=point.threshold,
        temperature=point.temperature,
    )
    clean, changed = table.iloc[0], table.iloc[1:]
    of_clean, means = (
        dict(each[list(SCORES)]) for each in (clean, changed.mean(numeric_only=True))
    )
    return {
        "schema": run_folder.SCHEMA,
        "split": split,
        "images": len(chosen),
        "of": len(rows),
        "seed": SEED,
        "threshold": point.threshold,
        "clean": cast(StressScores, of_clean),
        "stressed": cast(StressScores, means),
        "drop": of_clean["auroc"] - means["auroc"],
        "rows": cast(list[StressRow], changed.to_dict("records")),
    }


def sample(rows: pd.DataFrame, *, seed: int = SEED) -> pd.DataFrame:
    """Returns about MAX_IMAGES rows of a split, the same share of each label, or all if fewer."""
    share = min(1.0, MAX_IMAGES / len(rows))
    return rows.groupby("label").sample(frac=share, random_state=seed).sort_values("path")


def _keep(run: Run, result: Stress) -> None:
    """Writes stress.json; not to a network of the package, or a folder that cannot be written."""
    if run.is_shipped:
        return
    try:
        RunWriter(run.run_dir).write_stress(result)
    except OSError as error:
        path = run.run_dir / run_folder.STRESS
        cli.note(f"{path} could not be written ({error.strerror}): the report will lack it")
