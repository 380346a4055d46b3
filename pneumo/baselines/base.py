"""The base of baselines: numbers of each image, and a classifier of scikit-learn."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pneumo.data.kermany import targets
from pneumo.evaluation.metrics import Array


class Baseline(ABC):
    """A classifier of scikit-learn on a few numbers of each image."""

    @abstractmethod
    def features(self, table: pd.DataFrame, images: np.ndarray, *, root: Path) -> Array:
        """Returns (N, F) float64, a row for each row of ``table``; arguments: see fit."""

    @abstractmethod
    def classifier(self, train: pd.DataFrame, *, seed: int) -> Any:
        """Returns an unfitted scikit-learn classifier with predict_proba for these rows."""

    def fit(self, table: pd.DataFrame, images: np.ndarray, *, root: Path, seed: int = 0) -> Array:
        """Returns (N,) float64 in [0, 1], each row's probability of PNEUMONIA.

        It is fitted to the rows of the train split only.

        Args:
            table: columns path, label, group and split; its index gives each row's place in
                ``images``.
            images: (M, S, S) uint8 prepared grey values.
            root: the folder that paths are relative to.
            seed: of the classifier.
        """
        features = self.features(table, images, root=root)
        train = (table["split"] == "train").to_numpy()
        classifier = self.classifier(table[train], seed=seed)
        classifier.fit(features[train], targets(table[train], num_classes=2))
        return np.asarray(classifier.predict_proba(features)[:, 1], dtype=np.float64)
