"""Data of the pictures: the networks shown, their curves on one grid, their mean confusion."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from pneumo.evaluation.intervals import patient_weights
from pneumo.evaluation.metrics import Array, precision_recall_curve, ratio, roc_curve
from pneumo.report.drawing import STYLES
from pneumo.report.groups import Cell, Group

MOST_SHOWN = len(STYLES)  # networks in one picture: as many as there are distinguishable colours
GRID = np.linspace(0, 1, 201)
BINS = 15  # of the reliability diagram, as in pneumo.evaluation.metrics
RESAMPLES = 200  # of the patients of a single trial, for a band of the central 95 %


def shown(group: Group) -> list[tuple[Cell, Any]]:
    """Returns the networks in the pictures, each with its colour, marker and line.

    At most `MOST_SHOWN`, those with most trials. The prior, which has one score for all images,
    is among them only if it is alone.
    """
    cells = [cell for cell in group.cells if cell.model != "prior"] or group.cells
    most = sorted(cells, key=lambda cell: -len(cell.trials))[:MOST_SHOWN]
    return list(zip((cell for cell in cells if cell in most), STYLES, strict=False))


def curves_on_grid(cell: Cell, curve: Callable[[Array, Array], Array]) -> Array:
    """Returns (K, 201): a curve for each trial, such as `sensitivity` or `precision`.

    For a single trial, its own curve between the ends of a 95 % bootstrap band.
    """
    trials = [trial for trial in cell.trials if trial.label.size]
    curves = np.array([curve(trial.label, trial.probability) for trial in trials])
    if len(trials) != 1:
        return curves
    label, probability = trials[0].label, trials[0].probability
    weight = patient_weights(trials[0].test["patient"], resamples=RESAMPLES)
    draws = [np.repeat(np.arange(label.size), times) for times in weight.T.astype(np.int64)]
    resampled = [curve(label[index], probability[index]) for index in draws]
    low, high = np.quantile(resampled, (0.025, 0.975), axis=0)
    return np.array([np.minimum(curves[0], low), curves[0], np.maximum(curves[0], high)])


def sensitivity(label: Array, probability: Array) -> Array:
    """Returns (201,): sensitivity for PNEUMONIA at each 1 - specificity of `GRID`."""
    fall_out, recall = roc_curve(label, probability)
    if np.isnan(fall_out).any() or np.isnan(recall).any():
        return np.full(GRID.shape, np.nan)
    return np.asarray(recall[np.searchsorted(fall_out, GRID, "right") - 1])


def precision(label: Array, probability: Array) -> Array:
    """Returns (201,): the best precision of NORMAL at each recall of `GRID` or above."""
    recall, precision = precision_recall_curve(1 - label, 1 - probability)
    if np.isnan(recall).any() or recall.size == 0:
        return np.full(GRID.shape, np.nan)
    highest_from_here = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.minimum(np.searchsorted(recall, GRID - 1e-12), recall.size - 1)
    return np.asarray(highest_from_here[at])


def history_table(cell: Cell, split: str, score: str) -> Array:
    """Returns (trials, epochs) of a score by epoch, NaN if a trial is shorter or has none."""
    return pd.DataFrame([t.history(split, score).tolist() for t in cell.trials]).to_numpy(float)


def mean_confusion(cell: Cell) -> tuple[Array, Array]:
    """Returns the share of each true class by predicted class, and images: (2, 2) means each."""
    known = [trial.metrics["best"]["test"].get("confusion") for trial in cell.trials]
    counts = np.array([np.full((2, 2), np.nan) if c is None else c for c in known], dtype=float)
    both = (ratio(counts, counts.sum(-1, keepdims=True)), counts)
    shares, images = (pd.DataFrame(each.reshape(-1, 4)).mean().to_numpy() for each in both)
    return shares.reshape(2, 2), images.reshape(2, 2)


def pooled(bins: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Returns the bins of probability of several trials as one; without rows if there are none.

    Columns images (which are added up), probability and observed.
    """
    if not bins:
        return pd.DataFrame()
    rows = pd.concat(bins)
    places = np.minimum((rows["probability"] * BINS).astype(int), BINS - 1)
    sums = rows.mul(rows["images"], axis=0).assign(images=rows["images"]).groupby(places).sum()
    return sums.div(sums["images"], axis=0).assign(images=sums["images"])
