"""A finished run, or an ensemble of several, as a report reads it; and a run it leaves out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from pneumo.evaluation.intervals import resampled_scores
from pneumo.evaluation.metrics import Array

COMPARED = ("f1_normal", "accuracy", "auroc")  # scores compared between two models


def _empty() -> Array:
    return np.empty(0)


@dataclass(frozen=True)
class Predictions:
    """Predictions for the images of one split at the best epoch, by path; empty if unknown."""

    path: Array = field(default_factory=_empty)  # (N,) str, sorted
    label: Array = field(default_factory=_empty)  # (N,) int64, 0 NORMAL, 1 PNEUMONIA
    probability: Array = field(default_factory=_empty)  # (N,) float64, of PNEUMONIA
    patient: Array = field(default_factory=_empty)  # (N,) int64, a number for each patient


@dataclass(frozen=True)
class Trial:
    """The scores of one network on one split, or of an ensemble of several."""

    name: str
    metrics: Mapping[str, Any]
    status: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)  # that affect training, flat
    test: Predictions = field(default_factory=Predictions)
    val: Predictions = field(default_factory=Predictions)
    ensembles: Mapping[str, Sequence[str]] = field(default_factory=dict)  # members by name
    members: tuple[tuple[str, float], ...] = ()  # of an ensemble: network, and weight or NaN
    remarks: tuple[str, ...] = ()

    @property
    def path(self) -> Array:
        """(N,) str of the test split, sorted; empty if its predictions are unknown."""
        return self.test.path

    @property
    def label(self) -> Array:
        """(N,) int64 of the test split, 0 NORMAL, 1 PNEUMONIA."""
        return self.test.label

    @property
    def probability(self) -> Array:
        """(N,) float64 of the test split, of PNEUMONIA."""
        return self.test.probability

    @property
    def patient(self) -> Array:
        """(N,) int64 of the test split, a number for each patient."""
        return self.test.patient

    @property
    def model(self) -> str:
        """The network's name, such as tiny, or the baseline's."""
        return str(self.metrics["model"])

    @property
    def is_baseline(self) -> bool:
        """Whether it is a classifier of pneumo.baselines, which has no epochs."""
        return self.metrics.get("baseline") is True

    @property
    def split(self) -> tuple[Any, Any]:
        """Seed and fold (None without folds), which identify a trial of one network."""
        return self.metrics.get("seed"), self.metrics.get("fold")

    @cached_property
    def resampled(self) -> dict[str, Array]:
        """(resamples,) of each score of COMPARED: trials on one test split share the resamples."""
        return resampled_scores(self.label, self.probability, patient=self.patient, names=COMPARED)

    @property
    def images_per_second(self) -> float:
        """Train images of an epoch divided by its seconds, median over epochs; NaN if unknown.

        The seconds include scoring the other splits. Ensembles run their members in turn.
        """
        seconds = [number(epoch, "seconds") for epoch in self.metrics.get("history") or []]
        positive = [value for value in seconds if value > 0]
        if not positive or self.metrics.get("debug"):  # a debug run skips images
            return float("nan")
        return self.count("train", "images") / float(np.median(positive))

    def score(self, when: str, split: str, name: str) -> float:
        """Returns a score at the "best" or "last" epoch; NaN if undefined or missing."""
        return number(self.metrics[when].get(split), name)

    def history(self, split: str, name: str) -> Array:
        """Returns (epochs,) float64 of one score of one split, NaN if unknown."""
        epochs = self.metrics.get("history") or []
        return np.array([number(epoch.get(split), name) for epoch in epochs], dtype=np.float64)

    def count(self, split: str, what: str) -> float:
        """Returns how many images, patients or images of a label a split has; NaN if unknown."""
        return number((self.metrics["data"].get("splits") or {}).get(split), what)


@dataclass(frozen=True)
class Problem:
    """A run that is left out of every number, and the reason."""

    name: str
    state: str  # running, failed, stopped, unfinished, unreadable, duplicate, not started, no runs
    reason: str
    model: str | None = None
    seed: Any = None
    fold: Any = None
    protocol: str | None = None


def number(table: Any, key: str) -> float:
    """Returns a value of a mapping as a float; NaN if missing, null or of another type."""
    value = table.get(key) if isinstance(table, Mapping) else None
    if isinstance(value, int | float) and not isinstance(value, bool) and np.isfinite(value):
        return float(value)
    return float("nan")


def split_name(split: tuple[Any, Any]) -> str:
    """Returns seed and fold in words: "seed 0", "seed 0 fold 2"."""
    seed, fold = split
    return f"seed {seed}" if fold is None else f"seed {seed} fold {fold}"
