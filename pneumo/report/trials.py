"""A finished run, or an ensemble of several, as a report reads it; and a run it leaves out."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from pneumo.evaluation.intervals import UNKNOWN, Interval, resampled_scores, score_intervals
from pneumo.evaluation.metrics import Array
from pneumo.evaluation.scores import SCORES
from pneumo.report.wording import decimal, interval
from pneumo.runs.metrics import Stress

COMPARED = ("f1_normal", "accuracy", "auroc")  # scores compared between two models
WITH_INTERVAL = tuple(name for name in SCORES if name != "average_precision")
SPLITS = ("test", "val", "train", "train_eval")
# Of the images of a split, sorted by path: str, 0 NORMAL or 1 PNEUMONIA, of PNEUMONIA, a number
PREDICTED = ("path", "label", "probability", "patient")
UNPREDICTED = pd.DataFrame(columns=list(PREDICTED))
DRAWN = ("paper", "holdout", "kfold")  # protocols whose split follows from seed and fold
PLACE = ["checkpoint", "split", "score"]  # of a number in the tables
NAN = float("nan")


class Scored(NamedTuple):
    """A number of one trial, with its 95 % interval over patients."""

    checkpoint: str  # best, last, or "" for sizes
    split: str  # of SPLITS, or test_GROUP, external_NAME, stress_SPLIT_clean or _stressed; or ""
    score: str
    value: float  # NaN if undefined
    low: float = NAN
    high: float = NAN


@dataclass(frozen=True)
class Trial:
    """The scores of one network on one split, or of an ensemble of several."""

    name: str
    metrics: Mapping[str, Any]
    status: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)  # that affect training, flat
    # PREDICTED at the best epoch; without rows if unknown
    test: pd.DataFrame = field(default_factory=UNPREDICTED.copy)
    val: pd.DataFrame = field(default_factory=UNPREDICTED.copy)
    ensembles: Mapping[str, Sequence[str]] = field(default_factory=dict)  # members by name
    overrides: Sequence[str] = ()  # of the command; () if unknown
    members: tuple[str, ...] = ()  # networks of an ensemble
    assessment: Mapping[str, Any] = field(default_factory=dict)  # {} if unknown
    maps: Sequence[Mapping[str, Any]] = ()  # scores of heat maps
    stress: Stress | None = None
    more: tuple[Scored, ...] = ()  # of the assessment, other images and the stress test
    external: Mapping[str, str] = field(default_factory=dict)  # digests of other images by name
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
        """The name of the network or baseline, such as tiny."""
        return str(self.metrics["model"])

    @property
    def is_baseline(self) -> bool:
        """Whether it is a classifier of pneumo.baselines, which has no epochs."""
        return self.metrics.get("baseline") is True

    @property
    def split(self) -> tuple[Any, Any]:
        """Seed and fold (None without folds)."""
        return self.metrics.get("seed"), self.metrics.get("fold")

    @property
    def drawn(self) -> tuple[Any, ...]:
        """Seed, fold and the digest of a split that came with the data: one trial of a network."""
        is_drawn = self.metrics["protocol"] in DRAWN
        return (*self.split, None if is_drawn else self.split_sha256)

    @property
    def device(self) -> str:
        """The device that it was timed on."""
        return str((self.metrics.get("machine") or {}).get("device"))

    @cached_property
    def intervals(self) -> dict[str, Interval]:
        """The 95 % interval over patients of each score of the test split; {} if unknown."""
        if self.test.empty:
            return {}
        patient = self.test["patient"]
        return score_intervals(self.label, self.probability, patient=patient, names=WITH_INTERVAL)

    @cached_property
    def resampled(self) -> dict[str, Array]:
        """(resamples,) of each score of COMPARED: trials on one test split share the resamples."""
        patient = self.test["patient"]
        return resampled_scores(self.label, self.probability, patient=patient, names=COMPARED)

    def resampled_as(self, other: "Trial") -> dict[str, Array]:
        """Returns `resampled` by the patients of another trial on the same test images.

        The patients differ where data.patient_key does, or only one has joined near-identical ones.
        """
        patient = other.test["patient"]
        if self.test["patient"].equals(patient):
            return self.resampled
        return resampled_scores(self.label, self.probability, patient=patient, names=COMPARED)

    @property
    def images_per_second(self) -> float:
        """Train images of an epoch divided by its seconds, median over epochs; NaN if unknown.

        The seconds include scoring the other splits. Ensembles run their members in turn.
        """
        seconds = [number(epoch, "seconds") for epoch in self.metrics.get("history") or []]
        positive = [value for value in seconds if value > 0]
        if not positive or self.metrics.get("debug"):  # a debug run skips images
            return NAN
        return self.count("train", "images") / float(np.median(positive))

    @property
    def split_sha256(self) -> Any:
        """The digest of the split; None if unknown."""
        return self.metrics["data"].get("split_sha256")

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

    def rows(self) -> Iterator[Scored]:
        """Yields every number of the trial, and its sizes."""
        for when, split in product(("best", "last"), SPLITS):
            written = self.metrics[when].get(split) or {}
            ends = self.intervals if (when, split) == ("best", "test") else {}
            for name in (name for name in (*SCORES, "loss") if name in written):
                yield Scored(when, split, name, number(written, name), *ends.get(name, UNKNOWN))
        yield from self.more
        sizes = {name: number(self.metrics, name) for name in ("parameters", "multiply_adds")}
        seconds = self.metrics.get("seconds")
        sizes |= {f"seconds_{name}": number(seconds, name) for name in ("total", "train")}
        epoch = NAN if self.is_baseline else number(self.metrics["best"], "epoch") + 1
        sizes |= {"images_per_second": self.images_per_second, "best_epoch": epoch}
        yield from (Scored("", "", name, value) for name, value in sizes.items())


@dataclass(frozen=True)
class Problem:
    """A run that is left out of every number, and the reason."""

    name: str
    state: str  # such as running, failed, stopped, unreadable, duplicate, not started, empty
    reason: str
    model: str | None = None
    seed: Any = None
    fold: Any = None
    protocol: str | None = None


class Spread(NamedTuple):
    """Numbers over trials: how many are known, their median and spread (sd with n - 1)."""

    n: int = 0
    median: float = NAN
    mean: float = NAN
    sd: float = NAN
    low: float = NAN
    high: float = NAN
    trials: int = 0
    lower: float = NAN  # 95 % interval over patients of a single trial
    upper: float = NAN

    @property
    def ends(self) -> tuple[float, float]:
        """The interval of a single trial, or lowest and highest of several; NaN if equal."""
        if self.trials == 1:
            return self.lower, self.upper
        return (self.low, self.high) if self.low < self.high else (NAN, NAN)

    @property
    def cell(self) -> tuple[str, str]:
        """The median, and the ends below it, as texts."""
        some = f" (n = {self.n})" if 0 < self.n < self.trials else ""
        return decimal(self.median) + some, interval(*self.ends, unknown="")


def tuples(table: pd.DataFrame) -> Iterator[Any]:
    """Returns the rows as named tuples."""
    return iter(table.itertuples())


def number(table: Any, key: str) -> float:
    """Returns a value of a mapping as a float; NaN if missing, null or of another type."""
    value = table.get(key) if isinstance(table, Mapping) else None
    if isinstance(value, int | float) and not isinstance(value, bool) and np.isfinite(value):
        return float(value)
    return NAN


def split_name(split: tuple[Any, Any]) -> str:
    """Returns seed and fold in words: "seed 0", "seed 0 fold 2"."""
    seed, fold = split
    return f"seed {seed}" if fold is None else f"seed {seed} fold {fold}"
