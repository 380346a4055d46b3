"""A baseline's run from its configuration to the run folder that a network leaves."""

import logging
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from hydra.utils import instantiate
from threadpoolctl import threadpool_limits

from pneumo.baselines.base import Baseline
from pneumo.data import split
from pneumo.data.base import DataSet
from pneumo.data.kermany import targets
from pneumo.evaluation.metrics import Array, confusion
from pneumo.evaluation.scores import scores
from pneumo.runs import run_folder
from pneumo.training import metadata
from pneumo.training.fit import keep_split, open_data_set, read_data

log = logging.getLogger("pneumo")


def fit(config: dict[str, Any], run_dir: Path, *, start: float | None = None) -> None:
    """Fits the baseline that ``config`` (plain, resolved) names, on the split of a network's run.

    Leaves in ``run_dir`` what a network leaves but checkpoints and history; there is one epoch.
    Raises ValueError or FileNotFoundError for what the user can mend. ``start``: see
    pneumo.training.fit.fit.
    """
    start = time.monotonic() if start is None else start
    data_set = open_data_set(config)
    table, images = read_data(config, data_set)
    digest = keep_split(run_dir, table)
    facts = describe(config, data_set, table, digest)
    log.info("%s: a baseline of scikit-learn, no network", facts["model"])
    metadata.announce_splits(facts)

    before = time.monotonic()
    arguments = {key: value for key, value in config["model"].items() if key != "name"}
    baseline: Baseline = instantiate(arguments)
    with threadpool_limits(limits=config["num_threads"]):
        probability = baseline.fit(table, images.images, root=data_set.root, seed=config["seed"])
    training = time.monotonic() - before
    predictions = prediction_table(table, probability)
    run_folder.write_table(run_dir / "predictions.csv", predictions)
    best: dict[str, Any] = {"epoch": 0, **score_splits(table, probability)}
    found = metadata.assessment(
        table, predictions, root=data_set.root, protocol=config["protocol"]["name"]
    )
    seconds = {"train": training, "total": time.monotonic() - start}
    metrics = {**facts, "best": best, "last": best, "history": [], "assessment": found}
    run_folder.write_json(run_dir / "metrics.json", {**metrics, "seconds": seconds})
    run_folder.write_status(run_dir, "done", epoch=1, max_epochs=1)
    log.info("")
    log.info("Test split (95 % intervals):")
    metadata.show_scores(found["scores"])
    metadata.show_end([data_set.note], seconds=seconds, run_dir=run_dir)


def describe(
    config: Mapping[str, Any], data_set: DataSet, table: pd.DataFrame, digest: str
) -> dict[str, Any]:
    """Returns what metrics.json says of a baseline's run before it has begun."""
    facts = metadata.describe_run(config, data_set, table, digest)
    told = {key: value for key, value in config["model"].items() if not key.startswith("_")}
    settings = {key: config["data"][key] for key in ("image_size", "aspect", "patient_key")}
    return facts | {
        "baseline": True,
        "debug": False,  # whatever the trainer leaves out, all images are used
        "selection": None,  # there is no epoch to choose
        "num_classes": 2,
        "hyperparameters": {**told, "seed": config["seed"], **settings},
        "machine": {"device": "the CPU", **facts["machine"]},
        "versions": facts["versions"] | {"scikit-learn": version("scikit-learn")},
    }


def prediction_table(table: pd.DataFrame, probability: Array) -> pd.DataFrame:
    """Returns predictions.csv: a row for each image of val and test, sorted by path."""
    rows = table[["path", "label", "split"]].assign(
        p_normal=1 - probability, p_pneumonia=probability
    )
    rows.insert(1, "patient", table["group"])
    return rows[rows["split"] != "train"].sort_values("path")


def score_splits(table: pd.DataFrame, probability: Array) -> dict[str, dict[str, Any]]:
    """Returns the scores of each split, named as a network's: train_eval for the train split."""
    label = targets(table, num_classes=2)
    found = {}
    for each in split.SPLITS:
        rows = (table["split"] == each).to_numpy()
        if rows.any():
            name = "train_eval" if each == "train" else each
            found[name] = _scores(label[rows], probability[rows])
    return found


def _scores(label: Array, probability: Array) -> dict[str, Any]:
    own = np.where(label == 1, probability, 1 - probability)
    loss = -np.log(np.maximum(own, np.finfo(np.float64).tiny)).mean()  # a sure mistake: 708
    counts = confusion(label, probability >= 0.5)
    return {**scores(label, probability), "loss": float(loss), "confusion": counts.tolist()}
