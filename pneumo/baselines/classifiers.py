"""The baselines: numbers of each image or its file, and a classifier of scikit-learn."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image, UnidentifiedImageError
from sklearn.calibration import CalibratedClassifierCV
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from pneumo.data import image
from pneumo.data.image import FORMATS
from pneumo.data.kermany import targets
from pneumo.evaluation.metrics import Array

SIDE = 32  # pixels of a thumbnail
FOLDS = 5  # of the train split's patients, or as many as a label has


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


class Prior(Baseline):
    """Predicts the more frequent class for every image; its AUROC is 0.5."""

    def features(self, table: pd.DataFrame, images: np.ndarray, *, root: Path) -> Array:
        """Returns (N, 1) zeros."""
        return np.zeros((len(table), 1))

    def classifier(self, train: pd.DataFrame, *, seed: int) -> Any:
        """Returns the class shares."""
        return DummyClassifier(strategy="prior")


class ThumbnailSVM(Baseline):
    """RBF-SVM on the grey values of thumbnails, each standardised over the train split.

    It sees brightness and posture alone.

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
        patients = int(train.groupby("label")["group"].nunique().min())
        number = max(2, min(FOLDS, patients))
        folds = StratifiedGroupKFold(number, shuffle=True, random_state=seed % 2**32)
        label = targets(train, num_classes=2)
        return CalibratedClassifierCV(
            self.machine(),
            cv=list(folds.split(label, label, groups=train["group"])),
            ensemble=False,
        )

    def machine(self) -> Any:
        """Returns the machine without its sigmoid: a distance, in the order of the probability."""
        return make_pipeline(StandardScaler(), SVC(C=self.C, gamma=self.gamma))


class FileHeader(Baseline):
    """Gradient-boosted trees on a file's header and size; they never see a pixel."""

    def features(self, table: pd.DataFrame, images: np.ndarray, *, root: Path) -> Array:
        """Returns (N, 8) of `header`; ``images`` are not used."""
        return np.array([header(root / path) for path in table["path"]], dtype=np.float64)

    def classifier(self, train: pd.DataFrame, *, seed: int) -> Any:
        """Returns trees with scikit-learn's default settings."""
        return HistGradientBoostingClassifier(random_state=seed % 2**32)


def header(path: Path) -> list[float]:
    """Returns eight numbers of an image file without decoding a pixel.

    Width and height in pixels; width over height; bytes of the file; the same per pixel; number
    of channels; mean of the JPEG's luma quantisation table, which falls as quality rises (29 at
    75, 5 at 95), and that of its chroma table; 0 for a missing table. The number of bytes is not
    part of the header, and rises with the detail in the picture.

    Raises:
        ValueError: the file is neither JPEG nor PNG, such as a DICOM file.
    """
    size = path.stat().st_size
    try:
        opened = Image.open(path, formats=FORMATS)
    except UnidentifiedImageError:
        raise ValueError(
            f"model=file_header reads the headers of JPEG and PNG files; {path} is neither. Leave "
            "it out, or take model=thumbnail_svm"
        ) from None
    with opened:
        tables: dict[int, list[int]] = getattr(opened, "quantization", None) or {}
        luma, chroma = (
            float(np.mean(tables[number])) if number in tables else 0.0 for number in (0, 1)
        )
        width, height, channels = opened.width, opened.height, len(opened.getbands())
    pixels = width * height
    return [width, height, width / height, size, size / pixels, channels, luma, chroma]
