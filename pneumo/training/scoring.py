"""A run's checkpoint, scored on whole splits in evaluation mode: the last thing a run does."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from pneumo.data.datamodule import Loader, XrayDataModule
from pneumo.labels import SUBTYPES
from pneumo.models import unet_encoder
from pneumo.training.task import Classifier, pneumonia_probability, score

TRAIN_EVAL = "train_eval"  # in metrics.json: the train split without augmentation and dropout


@dataclass(frozen=True)
class Scores:
    """The scores of one checkpoint."""

    epoch: int  # after which the checkpoint was saved, from 0
    scores: dict[str, dict[str, Any]]  # by split: as module.score returns them


@dataclass(frozen=True)
class Scored(Scores):
    """The logits of one checkpoint for the images of some splits."""

    rows: dict[str, np.ndarray]  # by split: (N,) int64 rows of the table
    logit: dict[str, Tensor]  # by split: (N, num_classes) float32 on the CPU


def score_checkpoint(
    module: Classifier, data: XrayDataModule, path: Path, *, splits: list[str]
) -> Scored:
    """Loads a checkpoint into ``module``, on its device, and scores every image of ``splits``."""
    checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    module.load_state_dict(checkpoint["state_dict"])
    rows, logit, scores = {}, {}, {}
    for split in splits:
        rows[split], logit[split] = _logits(module, data.loader(split))
        scores[split] = score(logit[split], torch.from_numpy(data.target[rows[split]]))
    return Scored(checkpoint["history"][-1]["epoch"], scores, rows, logit)


def saved_epoch(path: Path) -> int:
    """Returns the epoch after which a checkpoint was saved, from 0."""
    checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    return int(checkpoint["history"][-1]["epoch"])


def only(scored: Scores, split: str) -> Scores:
    """Returns the scores of one split alone."""
    return Scores(scored.epoch, {split: scored.scores[split]})


def predictions(scored: Scored, table: pd.DataFrame, *, splits: list[str]) -> pd.DataFrame:
    """Returns predictions.csv: a row an image of ``splits``, sorted by path.

    Its patient is split.csv's group, so that patients who share an image count as one.
    The probabilities are float64; p_pneumonia is the sum of all classes but NORMAL.
    """
    rows = np.concatenate([scored.rows[split] for split in splits])
    logit = torch.cat([scored.logit[split] for split in splits])
    probability = logit.double().softmax(1).numpy()
    names = ["normal", "pneumonia"] if probability.shape[1] == 2 else list(SUBTYPES)
    columns = {f"p_{name}": probability[:, number] for number, name in enumerate(names)}
    columns["p_pneumonia"] = pneumonia_probability(logit).numpy()
    return (
        table.assign(patient=table["group"])
        .loc[rows, ["path", "patient", "label", "split"]]
        .assign(**columns)
        .sort_values("path")
    )


@torch.inference_mode()
def _logits(module: Classifier, loader: Loader) -> tuple[np.ndarray, Tensor]:
    module.eval()
    rows: list[Tensor] = []
    logit: list[Tensor] = []
    # as in pneumo.predict
    with unet_encoder.without_tf32():
        for batch in loader:
            rows.append(batch.row.cpu())
            logit.append(module(batch.image.to(module.device)).float().cpu())
    return torch.cat(rows).numpy(), torch.cat(logit)
