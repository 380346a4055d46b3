"""PneumoniaMNIST, one .npz file, as a folder of PNG files with its own train, val and test."""

import hashlib
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from PIL import Image

from pneumo.data.base import DataSet
from pneumo.data.folder import UNKNOWN, Folder, folder_table
from pneumo.data.kermany import Kermany
from pneumo.data.listing import SOURCES
from pneumo.labels import CLASS_NAMES

ADDRESS = "https://doi.org/10.5281/zenodo.10519652"


@dataclass(frozen=True)
class MedMnist(Folder):
    """PneumoniaMNIST: the radiographs of Kermany et al., smaller, without names, cropped."""

    note: str | None = UNKNOWN
    licence: str = "CC BY 4.0, doi 10.1038/s41597-022-01721-8"
    near_duplicates: bool = True

    kind = "medmnist"
    title = Kermany.title
    population = Kermany.population
    ages = Kermany.ages
    of_children = True
    citation = Kermany.citation
    limits = Kermany.limits
    checklist = Kermany.checklist
    owns_folder = False

    @classmethod
    def open(cls, root: str, cache_dir: str) -> "MedMnist":  # type: ignore[override]
        """Returns the images of the .npz file ``root``, unpacked once; raises as `unpack`."""
        folder = unpack(Path(root).expanduser(), Path(cache_dir).expanduser())
        images, _ = folder_table(folder)
        return cls(folder, images=images)

    @classmethod
    def at(cls, place: Path, *, cache_dir: Path) -> DataSet:
        """Returns the set in a .npz file; see `open`."""
        return cls.open(str(place), str(cache_dir))

    @classmethod
    def recognises(cls, place: Path) -> bool:
        """Returns whether ``place`` is a file."""
        return place.is_file()

    @classmethod
    def images_of(cls, source: Mapping[str, Any]) -> Path | None:
        """Returns the folder that the file is unpacked to; see `DataSet.images_of`."""
        root, cache_dir = (Path(str(source.get(n))).expanduser() for n in ("root", "cache_dir"))
        return unpacked(root, cache_dir) if root.is_file() else None


def unpack(path: Path, cache_dir: Path) -> Path:
    """Returns the folder <source>/<label>/<number>.png of a MedMNIST file, written once.

    Args:
        path: pneumoniamnist.npz or pneumoniamnist_64.npz and so on (28 to 224 pixels), with
            train_images (N, S, S) uint8 and train_labels (N, 1) of numbers or bool, 1 is pneumonia;
            so for val and test.
        cache_dir: where the folder is, named by the file's content.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not such a file.
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
            shutil.rmtree(part, ignore_errors=True)  # of an interrupted process
            for source, (images, labels) in _arrays(path).items():
                for label in CLASS_NAMES:
                    (part / source / label).mkdir(parents=True)
                for number, (image, label) in enumerate(zip(images, labels, strict=True)):
                    place = part / source / CLASS_NAMES[label]
                    Image.fromarray(image).save(place / f"{number:05}.png")
            part.replace(folder)
    return folder


def unpacked(path: Path, cache_dir: Path) -> Path:
    """Returns the folder that `unpack` writes for a file, whether it exists or not."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()[:16]
    return cache_dir / f"medmnist-{digest}"


def _arrays(path: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    arrays = {}
    try:
        with np.load(path, allow_pickle=False) as file:
            for source in SOURCES:
                images, labels = file[f"{source}_images"], file[f"{source}_labels"].ravel()
                fits = images.ndim == 3 and images.dtype == np.uint8 and len(images) == len(labels)
                if not (fits and np.isin(labels, (0, 1)).all()):
                    shape, values = f"{images.shape} {images.dtype}", np.unique(labels)[:9]
                    raise ValueError(f"{source}_images is {shape}, {len(labels)} labels: {values}")
                arrays[source] = images, labels.astype(np.int64)  # from bool or float, too
    except (KeyError, ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(
            "data.root must be PneumoniaMNIST's file: grey images (N, S, S) uint8 and labels 0 and "
            f"1 as train_images, train_labels and so on; {path}: {error}. Download it again, from "
            f"{ADDRESS}"
        ) from None
    return arrays
