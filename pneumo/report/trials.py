"""One finished run as a report sees it, and a run that it leaves out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from pneumo.evaluation.intervals import resampled_scores
from pneumo.evaluation.metrics import RANK_SCORES, Array
from pneumo.labels import CLASS_NAMES

COMPARED = ("f1_normal", "accuracy", "auroc")  # between two models on the same splits


def _nothing() -> Array:
    return np.empty(0)


@dataclass(frozen=True)
class Predictions:
    """What a run says of the images of one split at its best epoch, by path; empty if unknown."""

    path: Array = field(default_factory=_nothing)  # (N,) str, sorted
    label: Array = field(default_factory=_nothing)  # (N,) int64, 0 NORMAL, 1 PNEUMONIA
    probability: Array = field(default_factory=_nothing)  # (N,) float64, of PNEUMONIA
    patient: Array = field(default_factory=_nothing)  # (N,) int64, a number for each patient


@dataclass(frozen=True)
class Trial:
    """One finished run: one network on one split, with what it scored. Or several together."""

    name: str
    metrics: Mapping[str, Any]
    status: Mapping[str, Any]
    test: Predictions = field(default_factory=Predictions)
    val: Predictions = field(default_factory=Predictions)
    ensembles: Mapping[str, Sequence[str]] = field(default_factory=dict)  # it names: name, members
    members: tuple[tuple[str, float], ...] = ()  # of an ensemble: network, and weight or NaN
    remarks: tuple[str, ...] = ()
    # what bears on what is learnt, as optimizer.lr; empty if the run left no configuration:
    told: Mapping[str, Any] = field(default_factory=dict)

    @property
    def path(self) -> Array:
        """(N,) str of the test split, sorted; empty where its predictions are not known."""
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
        """The network's name: tiny, small, medium, large or a baseline's."""
        return str(self.metrics["model"])

    @property
    def is_baseline(self) -> bool:
        """Whether it is of a classifier of pneumo.baselines, which has no network and no epochs."""
        return self.metrics.get("baseline") is True

    @cached_property
    def resampled(self) -> dict[str, Array]:
        """(resamples,) of each score of COMPARED: trials on one test split share them."""
        return resampled_scores(self.label, self.probability, patient=self.patient, names=COMPARED)

    @property
    def split(self) -> tuple[Any, Any]:
        """What tells the trials of one network apart: its seed and its fold, None for no fold."""
        return self.metrics.get("seed"), self.metrics.get("fold")

    @property
    def images_per_second(self) -> float:
        """Train images of an epoch by its seconds, the median epoch; NaN where not known.

        In those seconds the other splits are scored too. Of an ensemble: its members in turn.
        """
        epochs = self.metrics.get("history") or []
        seconds = [number(epoch, "seconds") for epoch in epochs]
        known = [value for value in seconds if value > 0]
        if not known or self.metrics.get("debug"):  # a debug run leaves out images
            return float("nan")
        return self.count("train", "images") / float(np.median(known))

    def score(self, when: str, split: str, name: str) -> float:
        """A score at the "best" or "last" epoch; NaN if undefined or not there."""
        if self._class_is_missing(split, name):
            return float("nan")
        return number(self.metrics[when].get(split), name)

    def history(self, split: str, name: str) -> Array:
        """(epochs,) float64 of one score of one split, NaN where unknown."""
        epochs = self.metrics.get("history") or []
        if self._class_is_missing(split, name):
            return np.full(len(epochs), np.nan)
        return np.array([number(_scores(epoch, split), name) for epoch in epochs], dtype=np.float64)

    def count(self, split: str, what: str) -> float:
        """How many "images", "patients", "NORMAL" or "PNEUMONIA" a split holds; NaN if not said.

        A class that is not listed where the other one is has none.
        """
        sizes = (self.metrics["data"].get("splits") or {}).get(split)
        known = number(sizes, what)
        listed = isinstance(sizes, Mapping) and any(name in sizes for name in CLASS_NAMES)
        return 0.0 if np.isnan(known) and listed and what in CLASS_NAMES else known

    def settings(self) -> dict[str, Any]:
        """What makes two runs of one network incomparable if it differs, flat."""
        selection = self.metrics.get("selection") or {}
        flat = {"chosen_on": selection.get("on"), "chosen_by": selection.get("monitor")}
        flat |= self.told or {
            "batch_norm": self.metrics.get("batch_norm"),
            "num_classes": self.metrics.get("num_classes"),
            "max_epochs": self.status.get("max_epochs"),
            **(self.metrics.get("hyperparameters") or {}),
        }
        return {key: _plain(value) for key, value in flat.items() if not _is_incidental(key)}

    def _class_is_missing(self, split: str, name: str) -> bool:
        needs = CLASS_NAMES if name in RANK_SCORES else (name.rsplit("_", 1)[-1].upper(),)
        return any(self.count(split, class_name) == 0 for class_name in needs)


@dataclass(frozen=True)
class Problem:
    """A run that is left out of every number, and why."""

    name: str
    state: str  # running, failed, stopped, unreadable, other schema, duplicate
    reason: str
    model: str | None = None
    seed: Any = None
    fold: Any = None
    protocol: str | None = None


def number(table: Any, key: str) -> float:
    """A value of a mapping as a float; NaN if either is missing, null or of another type."""
    value = table.get(key) if isinstance(table, Mapping) else None
    if isinstance(value, int | float) and not isinstance(value, bool) and np.isfinite(value):
        return float(value)
    return float("nan")


def split_name(split: tuple[Any, Any]) -> str:
    """The words for a seed and fold: "seed 0", "seed 0 fold 2"."""
    seed, fold = split
    return f"seed {seed}" if fold is None else f"seed {seed} fold {fold}"


def _scores(epoch: Any, split: str) -> Any:
    return epoch.get(split) if isinstance(epoch, Mapping) else None


def _plain(value: Any) -> Any:
    """Numbers as float, so that 1 and 1.0 are one setting."""
    return float(value) if type(value) is int else value


def _is_incidental(key: str) -> bool:
    """Whether a setting changes where or how fast a run goes, not what it learns."""
    last = key.rsplit(".", 1)[-1]
    ends = ("seed", "fold", "dir", "path", "workers", "devices", "accelerator", "threads", "name")
    return last.endswith(ends)
