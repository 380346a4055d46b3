"""Data of the pictures: the networks shown, their curves on one grid, their mean confusion."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from pneumo.evaluation.intervals import patient_weights
from pneumo.evaluation.metrics import Array, precision_recall_curve, ratio, roc_curve
from pneumo.report.groups import Cell, Group
from pneumo.report.trials import Trial

MOST_SHOWN = 8  # networks in one picture: as many as there are distinguishable colours
GRID = np.linspace(0, 1, 201)
BINS = 15  # of the reliability diagram, as in pneumo.evaluation.calibration
RESAMPLES = 200  # of the patients of a single trial, for a band of the central 95 %


def shown(group: Group) -> list[Cell]:
    """Returns the networks in the pictures: at most `MOST_SHOWN`, those with most trials.

    The prior, which has one score for all images, is among them only if it is alone.
    """
    cells = [cell for cell in group.cells if cell.model != "prior"] or group.cells
    most = sorted(cells, key=lambda cell: -len(cell.trials))[:MOST_SHOWN]
    return [cell for cell in cells if any(cell is other for other in most)]


def curves_on_grid(cell: Cell, curve: Callable[[Array, Array], Array]) -> Array:
    """Returns (K, 201): a curve for each trial, such as `sensitivity` or `precision`.

    For a single trial, its own curve between the ends of a 95 % bootstrap band.
    """
    trials = [trial for trial in cell.trials if trial.label.size]
    curves = np.array([curve(trial.label, trial.probability) for trial in trials])
    if len(trials) != 1:
        return curves
    low, high = np.quantile(_resampled(trials[0], curve), (0.025, 0.975), axis=0)
    (of_all,) = curves
    return np.array([np.minimum(of_all, low), of_all, np.maximum(of_all, high)])


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
    counts = np.full((len(cell.trials), 2, 2), np.nan)
    for place, trial in enumerate(cell.trials):
        known = np.array(trial.metrics["best"]["test"].get("confusion"), dtype=np.float64)
        counts[place] = known if known.shape == (2, 2) else np.nan
    both = (ratio(counts, counts.sum(-1, keepdims=True)), counts)
    shares, images = (pd.DataFrame(each.reshape(-1, 4)).mean().to_numpy() for each in both)
    return shares.reshape(2, 2), images.reshape(2, 2)


def reliability_bins(cell: Cell, state: str) -> pd.DataFrame:
    """Returns the trials' bins of probability as one: images, probability, observed.

    ``state``: before or after the temperature. Without rows if unknown.
    """
    assessed = [a[state] for trial in cell.trials if (a := trial.metrics.get("assessed"))]
    return pooled(assessed) if assessed else pd.DataFrame()


def pooled(bins: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Returns the bins of several trials as one; images are added up."""
    rows = pd.concat(bins)
    places = np.minimum((rows["probability"] * BINS).astype(int), BINS - 1)
    sums = rows.mul(rows["images"], axis=0).assign(images=rows["images"]).groupby(places).sum()
    return sums.div(sums["images"], axis=0).assign(images=sums["images"])


def _resampled(trial: Trial, curve: Callable[[Array, Array], Array]) -> Array:
    weight = patient_weights(trial.test["patient"], resamples=RESAMPLES)(0, RESAMPLES).astype(
        np.int64
    )
    draws = [np.repeat(np.arange(trial.label.size), times) for times in weight.T]
    return np.array([curve(trial.label[index], trial.probability[index]) for index in draws])
