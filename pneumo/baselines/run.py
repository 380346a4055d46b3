"""A baseline's run from its configuration to the run folder that a network leaves."""

import logging
import time
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from pneumo.baselines.base import Baseline
from pneumo.choices import BALANCED
from pneumo.data import split
from pneumo.data.base import DataSet
from pneumo.data.kermany import targets
from pneumo.evaluation.calibration import at_prevalence
from pneumo.evaluation.metrics import Array
from pneumo.evaluation.scores import scores_at_half
from pneumo.runs import run_folder, tables
from pneumo.runs.writer import RunWriter
from pneumo.training import metadata, tensorboard_log
from pneumo.training.config import Config
from pneumo.training.fit import open_data_set, read_data

log = logging.getLogger("pneumo")


def fit(
    config: dict[str, Any], writer: RunWriter, *, baseline: Baseline, start: float | None = None
) -> None:
    """Fits a baseline on the split of a network's run by ``config``, plain and resolved.

    Writes the files of a network but checkpoints and history; there is one epoch. ``start``,
    errors: see pneumo.training.fit.fit.
    """
    start = time.monotonic() if start is None else start
    data_set = open_data_set(config)
    table, images = read_data(config, data_set)
    digest = writer.write_split(table)
    facts = describe(config, data_set, table, digest)
    log.info("%s: a baseline of scikit-learn, no network", facts["model"])
    metadata.announce_splits(facts)

    before = time.monotonic()
    with threadpool_limits(limits=config["num_threads"]):
        probability = baseline.fit(table, images.images, root=data_set.root, seed=config["seed"])
    if config["decision"] == BALANCED:  # as of a network, see Network.log_prior
        share = targets(table[table["split"] == "train"], num_classes=2).mean()
        probability = at_prevalence(probability, fitted_at=share, prevalence=0.5)
    training = time.monotonic() - before
    scored = (table["split"] != "train").to_numpy()
    p = probability[scored]
    predictions = tables.predictions(table, table.index[scored], p_normal=1 - p, p_pneumonia=p)
    writer.write_table(run_folder.PREDICTIONS, predictions)
    best: dict[str, Any] = {"epoch": 0, **score_splits(table, probability)}
    assessment = metadata.assessment(
        table, predictions, root=data_set.root, settings=Config.model_validate(config)
    )
    seconds = {"train": training, "total": time.monotonic() - start}
    metrics = {**facts, "best": best, "last": best, "history": [], "assessment": assessment}
    tensorboard_log.write_baseline(config, metrics, writer.run_dir)
    writer.finish({**metrics, "seconds": seconds}, epochs=1, max_epochs=1)
    log.info("")
    log.info("Test split (95 % intervals):")
    for line in metadata.score_lines(assessment["scores"]):
        log.info("%s", line)
    metadata.show_end([data_set.note], seconds=seconds, run_dir=writer.run_dir)


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
    return {**scores_at_half(label, probability), "loss": float(loss)}
