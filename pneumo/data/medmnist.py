"""PneumoniaMNIST, one .npz file, as a folder of PNG files with its own train, val and test."""

import hashlib
import shutil
import zipfile
from pathlib import Path

import numpy as np
from filelock import FileLock
from PIL import Image

from pneumo.data.kermany import SOURCES
from pneumo.labels import CLASS_NAMES

ADDRESS = "https://doi.org/10.5281/zenodo.10519652"


def unpack(path: Path, cache_dir: Path) -> Path:
    """Returns the folder <source>/<label>/<number>.png of a MedMNIST file, written once.

    Args:
        path: pneumoniamnist.npz or pneumoniamnist_64.npz and so on (28 to 224 pixels), with
            train_images (N, S, S) uint8 and train_labels (N, 1) of numbers or bool, 1 is pneumonia;
            so for val and test.
        cache_dir: where the folder lies, named by the file's content.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is none of these.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"data.root must be PneumoniaMNIST's file, such as pneumoniamnist_224.npz; there is no "
            f"file {path}. It is at {ADDRESS}"
        )
    folder = unpacked(path, cache_dir)
    cache_dir.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not folder.is_dir():
            part = folder.with_name(f"{folder.name}.tmp")
            shutil.rmtree(part, ignore_errors=True)  # of a process that was killed
            for source, (images, labels) in _arrays(path).items():
                _write(part / source, images, labels)
            part.replace(folder)
    return folder


def unpacked(path: Path, cache_dir: Path) -> Path:
    """Returns where unpack puts a file's images, whether they are there or not."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()[:16]
    return cache_dir / f"medmnist-{digest}"


def _arrays(path: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    found = {}
    try:
        with np.load(path, allow_pickle=False) as file:
            for source in SOURCES:
                images, labels = file[f"{source}_images"], file[f"{source}_labels"].ravel()
                if images.ndim != 3 or images.dtype != np.uint8 or len(images) != len(labels):
                    shape = f"{images.shape} {images.dtype}"
                    raise ValueError(f"{source}_images is {shape}, with {len(labels)} labels")
                if not np.isin(labels, (0, 1)).all():
                    other = labels[~np.isin(labels, (0, 1))][0]
                    raise ValueError(f"{source}_labels ({labels.dtype}) holds {other}")
                found[source] = images, labels.astype(np.int64)  # which may be bool or float
    except (KeyError, ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(
            "data.root must be PneumoniaMNIST's file: grey images (N, S, S) uint8 and labels 0 and "
            f"1 as train_images, train_labels and so on; {path}: {error}. Download it again, from "
            f"{ADDRESS}"
        ) from None
    return found


def _write(place: Path, images: np.ndarray, labels: np.ndarray) -> None:
    for label in CLASS_NAMES:
        (place / label).mkdir(parents=True)
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        Image.fromarray(image).save(place / CLASS_NAMES[label] / f"{number:05}.png")
