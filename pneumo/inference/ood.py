"""Flags images that are out of the distribution of the run's own, by file, layout and features.

The file shows images that are not radiographs, and a DICOM header those that are not frontal chest
radiographs or of another age. Two Mahalanobis distances from the run's own images (validation and
test split) show the rest, each with one shrunk covariance, as in Lee et al., "A simple unified
framework for detecting out-of-distribution samples" (2018), without their class means:
    layout: of a picture of 8 x 8 grey values, its contrast and its sharpness at four scales.
    features: of the input of the network's last dense layer, the mean over the run's views.
It is a warning, not a safeguard. Its accuracy is in docs/notes/measured.md.
"""

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from pneumo.data.reader import Radiograph
from pneumo.models.base import Network
from pneumo.models.unet_encoder import without_tf32
from pneumo.models.views import Views
from pneumo.runs.network import weights_digest

FILE = "reference.npz"  # in the run folder, of the best checkpoint
MAX_IMAGES = 500  # of a reference; more change the limit little
BATCH_SIZE = 32  # images at once through the network
SHRINKAGE = 0.5  # share of the covariance's diagonal; with fewer images than features it is needed
QUANTILE = 0.99  # of the run's own distances, which the limit is; see ordinary_share
FLOOR = 0.01  # of the mean variance, added to each: units that are hardly ever active
NUM_FOLDS = 10
MIN_IMAGES = 20  # for a reference
SPACES = ("layout", "features")
VERSION = 2  # of reference.npz; 1 had the features of the last view alone

Array = NDArray[np.float64]


@dataclass(frozen=True)
class MahalanobisDetector:
    """The distribution of ordinary images in one space."""

    mean: Array  # (c,)
    precision: Array  # (c, c), the inverse of the shrunk covariance
    limit: float  # a distance above this is flagged

    def distance(self, values: np.ndarray) -> Array:
        """Returns (N,) Mahalanobis distances of (N, c) values, in units of the limit."""
        away = np.asarray(values, dtype=np.float64) - self.mean
        squared: Array = np.einsum("ni,ij,nj->n", away, self.precision, away)
        return np.sqrt(np.maximum(squared, 0)) / self.limit


@dataclass(frozen=True)
class Reference:
    """The distribution of a run's own images."""

    layout: MahalanobisDetector
    features: MahalanobisDetector
    weights_sha256: str  # of the network whose features they are

    def judge(self, layout: np.ndarray, features: np.ndarray) -> tuple[float, list[str]]:
        """Returns the larger distance of one image, (73,) and (c,), and why it is flagged."""
        far = {
            "layout unlike the run's images": float(self.layout.distance(layout[None])[0]),
            "far from the run's images in features": float(
                self.features.distance(features[None])[0]
            ),
        }
        return max(far.values()), [reason for reason, distance in far.items() if distance > 1]


def file_reasons(radiograph: Radiograph, data: Iterable[Mapping[str, Any]]) -> list[str]:
    """Returns the differences of an image from those of some runs: pixels, header and age.

    ``data``: of each run's metrics.json; its ages may be unknown.
    """
    age = radiograph.header.age
    ranges = sorted({(min(each["ages"]), max(each["ages"])) for each in data if each.get("ages")})
    return list(radiograph.odd) + [
        f"age: {age} years, trained on {low} to {high}"
        for low, high in ranges
        if age is not None and not low <= age <= high
    ]


def layout(pixels: np.ndarray) -> Array:
    """Returns (N, 73) of (N, S, S) uint8 images: thumbnail, contrast, sharpness at four scales."""
    rows = []
    for grey in pixels.astype(np.float32):
        thumbnail = cv2.resize(grey, (8, 8), interpolation=cv2.INTER_AREA)
        values = [*thumbnail.ravel().tolist(), float(grey.std())]
        for side in (64, 32, 16, 8):
            small = cv2.resize(grey, (side, side), interpolation=cv2.INTER_AREA)
            steps = [np.abs(np.diff(small, axis=axis)).mean() for axis in (0, 1)]
            values += [float(np.log(0.1 + step)) for step in steps]
        rows.append(values)
    return np.array(rows)


def fit_detector(values: np.ndarray) -> MahalanobisDetector:
    """Returns the distribution of (N, c) values of MIN_IMAGES or more ordinary images.

    The limit is the QUANTILE of the distances of each tenth of the images from the detector of the
    others: in its own detector an image has too small a distance.
    """
    values = np.asarray(values, dtype=np.float64)
    folds = [np.arange(len(values)) % NUM_FOLDS == fold for fold in range(NUM_FOLDS)]
    crossed = [MahalanobisDetector(*_fit(values[~out]), 1.0).distance(values[out]) for out in folds]
    limit = float(np.quantile(np.concatenate(crossed), QUANTILE))
    return MahalanobisDetector(*_fit(values), max(limit, 1e-9))


def ordinary_share(num_images: int) -> tuple[float, float]:
    """Returns the share of ordinary images expected beyond a limit, and its 95 % quantile.

    The limit lies between order statistics of n exchangeable distances, as in numpy.quantile:
    the share beyond has the distribution Beta(a, n + 1 - a), a = n - (n - 1) QUANTILE. Beyond
    either of two limits lies the sum, taken as if they were independent: Beta(2a, n + 1 - 2a).
    Measured on Kermany et al.'s train images, means are 0.077 to 0.024 for n of 20 to 500, where
    this returns 0.113 to 0.024: of few images the limit is too wide, since it is that of detectors
    of nine tenths of them.
    """
    from scipy.stats import beta

    beyond = len(SPACES) * (num_images - (num_images - 1) * QUANTILE)
    within = num_images + 1 - beyond
    return beyond / (num_images + 1), float(beta.ppf(0.95, beyond, within))


def sampled_paths(predictions: pd.DataFrame) -> list[str]:
    """Returns the images of the reference, sorted: up to MAX_IMAGES of validation and test."""
    paths = sorted(predictions["path"])
    return sorted(random.Random(0).sample(paths, min(MAX_IMAGES, len(paths))))  # noqa: S311  (fixed)


@torch.inference_mode()
def fit(network: Network, prepared: np.ndarray, *, views: Views) -> Reference | None:
    """Returns the reference of (N, S, S) uint8 prepared images; None if they are too few."""
    if len(prepared) < MIN_IMAGES:
        return None
    images = torch.from_numpy(prepared)[:, None].to(network.mean.device)
    with without_tf32():
        parts = [
            views.features_and_logits(network, part.float())[0]
            for part in torch.split(images, BATCH_SIZE)
        ]
    features = fit_detector(torch.cat(parts).cpu().numpy())
    return Reference(fit_detector(layout(prepared)), features, weights_digest(network))


def arrays(reference: Reference) -> dict[str, Any]:
    """Returns the content of reference.npz, see `load`."""
    values = {
        f"{space}_{name}": value
        for space in SPACES
        for name, value in vars(getattr(reference, space)).items()
    }
    return {"version": VERSION, "weights_sha256": reference.weights_sha256, **values}


def load(run_dir: Path, *, weights_sha256: str) -> Reference | None:
    """Returns the reference in a run folder; None if it is missing, broken or of other weights."""
    try:
        with np.load(run_dir / FILE, allow_pickle=False) as file:
            version, digest = int(file["version"]), str(file["weights_sha256"])
            layout, features = (
                MahalanobisDetector(
                    file[f"{space}_mean"], file[f"{space}_precision"], float(file[f"{space}_limit"])
                )
                for space in SPACES
            )
    except Exception:  # any error of zipfile and NumPy
        return None
    if version != VERSION or digest != weights_sha256:
        return None
    return Reference(layout, features, digest)


def _fit(values: Array) -> tuple[Array, Array]:
    covariance = np.cov(values, rowvar=False)
    diagonal = np.diag(covariance)
    floor = FLOOR * max(float(diagonal.mean()), 1e-9)
    shrunk = (1 - SHRINKAGE) * covariance + np.diag(SHRINKAGE * diagonal + floor)
    return np.asarray(values.mean(0)), np.asarray(np.linalg.inv(shrunk), dtype=np.float64)
