"""The share of PNEUMONIA in the train split, for every image."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.dummy import DummyClassifier

from pneumo.baselines.base import Baseline
from pneumo.evaluation.metrics import Array


class Prior(Baseline):
    """Predicts the more frequent class for every image; its AUROC is 0.5."""

    def features(self, table: pd.DataFrame, images: np.ndarray, *, root: Path) -> Array:
        """Returns (N, 1) zeros."""
        return np.zeros((len(table), 1))

    def classifier(self, train: pd.DataFrame, *, seed: int) -> Any:
        """Returns the class shares."""
        return DummyClassifier(strategy="prior")
