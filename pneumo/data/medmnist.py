"""PneumoniaMNIST, one .npz file, as a folder of PNG files with its own train, val and test."""

import hashlib
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock
from PIL import Image

from pneumo import atomic
from pneumo.data.folder import UNKNOWN, Folder, folder_table
from pneumo.data.kermany import Kermany
from pneumo.data.labelled import SOURCES
from pneumo.labels import CLASS_NAMES

ADDRESS = "https://doi.org/10.5281/zenodo.10519652"


@dataclass(frozen=True)
class MedMnist(Folder):
    """PneumoniaMNIST: the radiographs of Kermany et al., smaller, without names, cropped."""

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
        return cls(folder, UNKNOWN.format(unknown=len(images), images=len(images)), images=images)

    @classmethod
    def recognises(cls, place: Path) -> bool:
        """Returns whether ``place`` is a file."""
        return place.is_file()


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
            f"file {path}. Download it from {ADDRESS}"
        )
    folder = unpacked(path, cache_dir)
    cache_dir.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not folder.is_dir():
            with atomic.replacing_folder(folder) as draft:
                _write_images(path, draft)
    return folder


def unpacked(path: Path, cache_dir: Path) -> Path:
    """Returns the folder that `unpack` writes for a file, whether it exists or not."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()[:16]
    return cache_dir / f"medmnist-{digest}"


def _write_images(path: Path, folder: Path) -> None:
    for source in SOURCES:
        try:
            with np.load(path, allow_pickle=False) as file:
                images, labels = file[f"{source}_images"], file[f"{source}_labels"].ravel()
            if not (
                images.ndim == 3 and images.dtype == np.uint8 and np.isin(labels, (0, 1)).all()
            ):
                raise ValueError(f"{source}_images is {images.shape} {images.dtype}")
            pairs = list(zip(images, labels, strict=True))
        except (KeyError, ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(
                "data.root must be PneumoniaMNIST's file: grey images (N, S, S) uint8 and labels 0 "
                f"and 1 as train_images, train_labels and so on; {path}: {error}. Download it "
                f"again, from {ADDRESS}"
            ) from None
        for label in CLASS_NAMES:
            (folder / source / label).mkdir(parents=True)
        for number, (image, label) in enumerate(pairs):
            place = folder / source / CLASS_NAMES[int(label)]
            Image.fromarray(image).save(place / f"{number:05}.png")
