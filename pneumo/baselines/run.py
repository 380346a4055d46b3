"""A baseline's run from its configuration to the run folder that a network leaves."""

import logging
import time
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from pneumo.baselines.classifiers import Baseline
from pneumo.choices import BALANCED
from pneumo.data import split
from pneumo.data.base import DataSet
from pneumo.data.kermany import pneumonia_share, targets
from pneumo.evaluation.metrics import Array, at_prevalence
from pneumo.evaluation.scores import scores_at_half
from pneumo.runs import run_folder, tables
from pneumo.runs.writer import RunWriter
from pneumo.training import loggers, metadata
from pneumo.training.config import Config
from pneumo.training.fit import read_data

log = logging.getLogger("pneumo")


def fit(
    config: Config, writer: RunWriter, *, data_set: DataSet, baseline: Baseline, start: float
) -> None:
    """Fits a baseline on the split of a network's run by ``config``.

    Writes the files of a network but checkpoints and history; there is one epoch. ``start``,
    errors: see pneumo.training.fit.fit.
    """
    table, images = read_data(config, data_set)
    facts = metadata.describe_run(config, data_set, table, writer.write_split(table))
    log.info("%s: a baseline of scikit-learn, not a network", facts["model"])
    metadata.announce_splits(facts)

    before = time.monotonic()
    with threadpool_limits(limits=config.num_threads):
        probability = baseline.fit(table, images.images, root=data_set.root, seed=config.seed)
    if config.decision == BALANCED:  # as of a network, see Network.log_prior
        share = pneumonia_share(table[table["split"] == "train"])
        probability = at_prevalence(probability, fitted_at=share, prevalence=0.5)
    training = time.monotonic() - before
    scored = (table["split"] != "train").to_numpy()
    p = probability[scored]
    predictions = tables.predictions(table, table.index[scored], p_normal=1 - p, p_pneumonia=p)
    writer.write_table(run_folder.PREDICTIONS, predictions)
    best = {"epoch": 0, **score_splits(table, probability)}
    assessment = metadata.assessment(table, predictions, root=data_set.root, config=config)
    model, data = config.model.plain(without=("_target_", "_convert_")), config.data
    metrics = facts | {
        "baseline": True,
        "debug": False,  # all images are used in every case
        "selection": None,  # there is no epoch to choose
        "num_classes": 2,
        "hyperparameters": {
            **model,
            "seed": config.seed,
            "image_size": data.image_size,
            "aspect": data.aspect,
            "patient_key": data.patient_key,
        },
        "machine": {"device": "the CPU", **facts["machine"]},
        "versions": facts["versions"] | {"scikit-learn": version("scikit-learn")},
        **{"best": best, "last": best, "history": [], "assessment": assessment},
        "seconds": {"train": training, "total": time.monotonic() - start},
    }
    loggers.write_baseline(config, metrics, writer.run_dir)
    writer.finish(metrics, epochs=1, max_epochs=1)
    lines = ["", "Test split (95 % CI):", *metadata.score_lines(assessment["scores"])]
    metadata.show_end(lines, [data_set.note], metrics["seconds"], writer.run_dir)


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
