"""The share of PNEUMONIA in the train split, for every image: what is known without looking."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.dummy import DummyClassifier

from pneumo.baselines.base import Baseline
from pneumo.evaluation.metrics import Array


class Prior(Baseline):
    """Looks at nothing; calls every image the more frequent class, and its AUROC is 0.5."""

    def features(self, table: pd.DataFrame, images: np.ndarray, *, root: Path) -> Array:
        """(N, 1) zeros."""
        return np.zeros((len(table), 1))

    def classifier(self, train: pd.DataFrame, *, seed: int) -> Any:
        """The class shares."""
        return DummyClassifier(strategy="prior")
