"""A baseline's run from its configuration to the run folder that a network leaves."""

import logging
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from pneumo.baselines.base import Baseline
from pneumo.data import split
from pneumo.data.base import DataSet
from pneumo.data.kermany import targets
from pneumo.evaluation.metrics import Array, confusion
from pneumo.evaluation.scores import scores
from pneumo.runs import run_folder
from pneumo.runs.writer import RunWriter
from pneumo.training import metadata
from pneumo.training.config import Config
from pneumo.training.fit import open_data_set, read_data

log = logging.getLogger("pneumo")


def fit(
    config: dict[str, Any], run_dir: Path, *, baseline: Baseline, start: float | None = None
) -> None:
    """Fits a baseline on the split of a network's run by ``config``, plain and resolved.

    Writes the files of a network but checkpoints and history; there is one epoch. ``start``,
    errors: see pneumo.training.fit.fit.
    """
    start = time.monotonic() if start is None else start
    data_set = open_data_set(config)
    table, images = read_data(config, data_set)
    writer = RunWriter(run_dir)
    digest = writer.write_split(table)
    facts = describe(config, data_set, table, digest)
    log.info("%s: a baseline of scikit-learn, no network", facts["model"])
    metadata.announce_splits(facts)

    before = time.monotonic()
    with threadpool_limits(limits=config["num_threads"]):
        probability = baseline.fit(table, images.images, root=data_set.root, seed=config["seed"])
    training = time.monotonic() - before
    predictions = prediction_table(table, probability)
    writer.write_table(run_folder.PREDICTIONS, predictions)
    best: dict[str, Any] = {"epoch": 0, **score_splits(table, probability)}
    assessment = metadata.assessment(
        table, predictions, root=data_set.root, protocol=config["protocol"]["name"]
    )
    seconds = {"train": training, "total": time.monotonic() - start}
    metrics = {**facts, "best": best, "last": best, "history": [], "assessment": assessment}
    writer.finish({**metrics, "seconds": seconds}, epochs=1, max_epochs=1)
    log.info("")
    log.info("Test split (95 % intervals):")
    metadata.show_scores(assessment["scores"])
    metadata.show_end([data_set.note], seconds=seconds, run_dir=run_dir)


def describe(
    config: Mapping[str, Any], data_set: DataSet, table: pd.DataFrame, digest: str
) -> dict[str, Any]:
    """Returns the part of metrics.json that is known before a baseline is fitted."""
    facts = metadata.describe_run(Config.model_validate(config), data_set, table, digest)
    model = {key: value for key, value in config["model"].items() if not key.startswith("_")}
    settings = {key: config["data"][key] for key in ("image_size", "aspect", "patient_key")}
    return facts | {
        "baseline": True,
        "debug": False,  # all images are used in every case
        "selection": None,  # there is no epoch to choose
        "num_classes": 2,
        "hyperparameters": {**model, "seed": config["seed"], **settings},
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
    masks = {name: (table["split"] == name).to_numpy() for name in split.SPLITS}
    return {
        "train_eval" if name == "train" else name: _scores(label[rows], probability[rows])
        for name, rows in masks.items()
        if rows.any()
    }


def _scores(label: Array, probability: Array) -> dict[str, Any]:
    of_label = np.where(label == 1, probability, 1 - probability)
    loss = -np.log(np.maximum(of_label, np.finfo(np.float64).tiny)).mean()  # at most 708
    counts = confusion(label, probability >= 0.5)
    return {**scores(label, probability), "loss": float(loss), "confusion": counts.tolist()}
