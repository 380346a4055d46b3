"""A support vector machine on 32 x 32 thumbnails: brightness and posture alone."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.calibration import CalibratedClassifierCV
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from pneumo.baselines.base import Baseline
from pneumo.data import image
from pneumo.data.kermany import targets
from pneumo.evaluation.metrics import Array

SIDE = 32  # pixels
FOLDS = 5  # of the train split's patients


class ThumbnailSVM(Baseline):
    """RBF-SVM on the grey values of thumbnails, each standardised over the train split.

    The machine returns a distance from its border. Platt's sigmoid turns it into a probability: it
    is fitted to the distances of train images by machines trained without their patients (5
    folds). The sigmoid rises, so the order is that of the distance.

    Args:
        C: the penalty of a train image on the wrong side, above 0.
        gamma: 1 / (2 sigma^2) of the kernel on standardised grey values; "scale" is about 1 / 1024.
    """

    def __init__(self, C: float = 10, gamma: float | str = "scale"):  # noqa: N803  (as in SVC)
        self.C, self.gamma = C, gamma

    def features(self, table: pd.DataFrame, images: np.ndarray, *, root: Path) -> Array:
        """Returns (N, 1024) grey values, 0 to 255."""
        thumbnails = [image.resize(images[row], size=SIDE).ravel() for row in table.index]
        return np.array(thumbnails, dtype=np.float64)

    def classifier(self, train: pd.DataFrame, *, seed: int) -> Any:
        """Returns the machine with its sigmoid; folds never split the images of a patient."""
        folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed % 2**32)
        label = targets(train, num_classes=2)
        return CalibratedClassifierCV(
            self.machine(),
            cv=list(folds.split(label, label, groups=train["group"])),
            ensemble=False,
        )

    def machine(self) -> Any:
        """Returns the machine without its sigmoid: a distance, in the order of the probability."""
        return make_pipeline(StandardScaler(), SVC(C=self.C, gamma=self.gamma))
