"""A finished run, or an ensemble of several, as a report reads it; and a run it leaves out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from pneumo.evaluation.intervals import resampled_scores
from pneumo.evaluation.metrics import Array

COMPARED = ("f1_normal", "accuracy", "auroc")  # scores compared between two models


# Of the images of a split, sorted by path: str, 0 NORMAL or 1 PNEUMONIA, of PNEUMONIA, a number
PREDICTED = ("path", "label", "probability", "patient")
UNKNOWN = pd.DataFrame(columns=list(PREDICTED))


@dataclass(frozen=True)
class Trial:
    """The scores of one network on one split, or of an ensemble of several."""

    name: str
    metrics: Mapping[str, Any]
    status: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)  # that affect training, flat
    # PREDICTED at the best epoch; without rows if unknown
    test: pd.DataFrame = field(default_factory=UNKNOWN.copy)
    val: pd.DataFrame = field(default_factory=UNKNOWN.copy)
    ensembles: Mapping[str, Sequence[str]] = field(default_factory=dict)  # members by name
    members: tuple[tuple[str, float], ...] = ()  # of an ensemble: network, and weight or NaN
    external: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # see runs.external
    remarks: tuple[str, ...] = ()

    @property
    def label(self) -> Array:
        """(N,) int64 of the test split, 0 NORMAL, 1 PNEUMONIA."""
        return self.test["label"].to_numpy()

    @property
    def probability(self) -> Array:
        """(N,) float64 of the test split, of PNEUMONIA."""
        return self.test["probability"].to_numpy()

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
        patient = self.test["patient"]
        return resampled_scores(self.label, self.probability, patient=patient, names=COMPARED)

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

    @property
    def split_sha256(self) -> str | None:
        """The digest of the split; None if unknown."""
        digest: str | None = self.metrics["data"].get("split_sha256")
        return digest

    def score(self, name: str, *, split: str = "test", when: str = "best") -> float:
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


class Spread(NamedTuple):
    """Numbers over trials: how many are known, their median and spread (sd with n - 1)."""

    n: int
    median: float
    mean: float
    sd: float
    low: float
    high: float


def spread(values: ArrayLike) -> Spread:
    """Returns the spread of the finite values; NaN for what they leave undefined."""
    finite = np.asarray(values, dtype=np.float64)
    finite = finite[np.isfinite(finite)]
    if finite.size == 0:
        return Spread(0, *[float("nan")] * 5)
    sd = finite.std(ddof=1) if finite.size > 1 else float("nan")
    numbers = (np.median(finite), finite.mean(), sd, finite.min(), finite.max())
    return Spread(finite.size, *map(float, numbers))
