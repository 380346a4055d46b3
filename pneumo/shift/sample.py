"""Images become numbers that can be compared: of the file, of the picture, of the network."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from tqdm import tqdm

from pneumo.data import dicom, image, reader
from pneumo.data.kermany import COLUMNS, SOURCES, parse_name
from pneumo.data.labelled import join_duplicates
from pneumo.data.reader import Radiograph
from pneumo.data.saved_as import saved_as
from pneumo.inference.leakage import digests
from pneumo.inference.networks import Networks, batches, check_readable
from pneumo.labels import CLASS_NAMES, PNEUMONIA

BATCH_SIZE = 32  # images
THREADS = 2  # that decode ahead
BLACK, WHITE = 8, 247  # grey values up to which a pixel is black, and from which it is white
EDGE = 0.05  # of a side: the frame whose brightness tells how closely an image is cropped


@dataclass(frozen=True)
class Measure:
    """A number of each image."""

    title: str
    about: str  # what it is, in a few words
    seen_in: str  # file, picture or network
    digits: int = 3


MEASURES = {
    "width": Measure("width", "pixels of the file", "file", 0),
    "height": Measure("height", "pixels of the file", "file", 0),
    "aspect": Measure("width / height", "of the file", "file", 2),
    "bytes": Measure("bytes per pixel", "of the file: compression, and detail", "file"),
    "jpeg": Measure("saved as JPEG", "1 yes, 0 no", "file", 0),
    "quality": Measure("JPEG quality", "libjpeg's scale, 1 to 100", "file", 0),
    "colour": Measure("saved in colour", "1 yes, 0 no", "file", 0),
    "mean": Measure("brightness", "mean grey value, 0 to 255", "picture", 1),
    "contrast": Measure("contrast", "standard deviation of grey values", "picture", 1),
    "black": Measure("black pixels", f"share of pixels of grey value {BLACK} or less", "picture"),
    "white": Measure("white pixels", f"share of pixels of grey value {WHITE} or more", "picture"),
    "sharpness": Measure("sharpness", "mean absolute Laplacian / contrast", "picture"),
    "edge": Measure("edge brightness", "brightness of the outer twentieth / of all", "picture", 2),
    "filled": Measure("filled frame", "share brighter than Otsu's threshold", "picture"),
    "centre_x": Measure("centre, across", "of the grey values; 0 left, 1 right", "picture"),
    "centre_y": Measure("centre, down", "of the grey values; 0 top, 1 bottom", "picture"),
    "symmetry": Measure("symmetry", "correlation with its mirror image", "picture"),
    "p_pneumonia": Measure(
        f"probability of {PNEUMONIA}", "the network's probability, raw", "network"
    ),
}


@dataclass(frozen=True)
class Sample:
    """Some images as numbers, a row each; those that cannot be read are named only."""

    table: pd.DataFrame  # path, group (who), label ("" where not known), and MEASURES as float64
    features: np.ndarray  # (N, c) float32, the input of the network's last layer
    layout: np.ndarray  # (N, 73), see pneumo.inference.ood
    unreadable: tuple[tuple[str, str], ...] = ()  # path, reason

    def __len__(self) -> int:
        return len(self.table)

    @property
    def patients(self) -> int:
        """How many people the images are of, as far as it is known."""
        return int(self.table["group"].nunique())


def read(
    networks: Networks, root: Path, table: pd.DataFrame, *, all_readable: bool = False
) -> Sample:
    """Returns the images of a table as the first of ``networks`` gets them.

    Args:
        networks: of the run.
        root: that paths are relative to.
        table: path, group and label.
        all_readable: whether each must be; else those that are not are named in the sample.

    Raises:
        UnreadableError: ``all_readable``, and one cannot be read.
        ValueError: none of them can be read.
    """
    paths = table["path"].tolist()
    rows, features, layout, unreadable = [], [], [], []
    stream = reader.read_all(
        [str(root / path) for path in paths], shapes=networks.shapes, threads=THREADS
    )
    places = iter(range(len(paths)))
    shown = tqdm(stream, "measuring", len(paths), unit="image", disable=not sys.stderr.isatty())
    for batch in batches(shown, batch_size=BATCH_SIZE):
        known = []
        for radiograph, place in zip(batch, places, strict=False):
            if all_readable:
                check_readable(radiograph)
            if radiograph.error:
                unreadable.append((paths[place], radiograph.error))
            else:
                known.append((place, radiograph))
        if not known:
            continue
        scored = networks.score([radiograph for _, radiograph in known])
        features.append(scored.features)
        layout.append(scored.layout)
        for (place, radiograph), p in zip(known, scored.pneumonia[0], strict=True):
            values = of_file(radiograph) | of_picture(radiograph.prepared[networks.shapes[0]])
            rows.append({"place": place, **values, "p_pneumonia": float(p)})
    if not rows:
        path, why = unreadable[0]
        raise ValueError(
            f"an image at least must be readable; none of {len(paths):,} is: {path}: {why}"
        )
    measured = pd.DataFrame(rows)
    facts = table[["path", "group", "label"]].iloc[measured["place"]].reset_index(drop=True)
    return Sample(
        pd.concat([facts, measured[list(MEASURES)].astype(np.float64)], axis=1),
        np.concatenate(features),
        np.concatenate(layout),
        tuple(unreadable),
    )


def of_file(radiograph: Radiograph) -> dict[str, float]:
    """Returns the measures of how an image was saved; NaN for the quality of what is no JPEG."""
    width, height = radiograph.size
    data = image.read(Path(radiograph.name))
    saved = {"format": "DICOM", "mode": "L", "quality": ""}
    if not dicom.is_dicom(data):
        saved = saved_as(data)
    quality = saved["quality"].removeprefix("about ")
    return {
        "width": float(width),
        "height": float(height),
        "aspect": width / height,
        "bytes": len(data) / (width * height),
        "jpeg": float(saved["format"] in ("JPEG", "MPO")),
        "quality": float(quality) if quality else float("nan"),
        "colour": float(saved["mode"] not in ("1", "L", "LA", "I", "I;16", "F")),
    }


def of_picture(pixels: np.ndarray) -> dict[str, float]:
    """Returns the measures of (S, S) uint8 grey values, as the network gets them.

    Framing is told by where the brightness lies, not by anatomy: a closely cropped thorax has a
    bright edge and fills the frame, one beside the middle has its centre there.
    """
    grey = pixels.astype(np.float32)
    mean, contrast = float(grey.mean()), float(grey.std())
    frame = np.ones(grey.shape, dtype=bool)
    width = max(1, round(EDGE * len(grey)))
    frame[width:-width, width:-width] = False
    _, bright = cv2.threshold(pixels, 0, 1, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    places = (np.arange(len(grey)) + 0.5) / len(grey)
    weight = max(float(grey.sum()), 1e-9)
    mirrored = grey[:, ::-1]
    return {
        "mean": mean,
        "contrast": contrast,
        "black": float((pixels <= BLACK).mean()),
        "white": float((pixels >= WHITE).mean()),
        "sharpness": float(np.abs(cv2.Laplacian(grey, cv2.CV_32F)).mean()) / max(contrast, 1e-9),
        "edge": float(grey[frame].mean()) / max(mean, 1e-9),
        "filled": float(bright.mean()),
        "centre_x": float(grey.sum(0) @ places) / weight,
        "centre_y": float(grey.sum(1) @ places) / weight,
        "symmetry": float(((grey - mean) * (mirrored - mean)).mean()) / max(contrast**2, 1e-9),
    }


def names(seen_in: str) -> list[str]:
    """Returns the measures of the file, the picture or the network."""
    return [name for name, one in MEASURES.items() if one.seen_in == seen_in]


def unlabelled(data: Path, *, patient_key: str) -> tuple[Path, pd.DataFrame]:
    """Returns the folder that paths are relative to, and the table of all images below it.

    Columns path, label, subtype, patient, source and group; label and subtype are empty. A file
    that is not named as the set's is a patient of its own.

    Raises:
        FileNotFoundError: there is no such folder, or no image in it.
    """
    if not data.is_dir():
        raise FileNotFoundError(f"--data must be a folder of images; there is no folder {data}")
    found, _ = reader.find([str(data)])
    if not found:
        raise FileNotFoundError(
            f"--data must hold an image at least ({', '.join(reader.SUFFIXES)}); {data} has none"
        )
    paths = [Path(os.path.relpath(path, data)) for path in found]
    rows = [(path.as_posix(), "", "", *_patient(path, data, patient_key)) for path in paths]
    table = pd.DataFrame(rows, columns=list(COLUMNS)).sort_values("path", ignore_index=True)
    files = [data / path for path in table["path"]]
    return data, table.assign(group=join_duplicates(table, digests(files)))


def _patient(path: Path, data: Path, patient_key: str) -> tuple[str, str]:
    """Who an image is of by its name, and whether it is of the set's train or test folder."""
    places = (*path.parts[:-1], data.resolve().name)
    source = next((place for place in places if place in SOURCES), "")
    for label in CLASS_NAMES:
        name = f"{source or 'test'}/{label}/{path.name}"
        parsed = parse_name(name, patient_key=patient_key)
        if parsed:
            return parsed[3], source
    return path.as_posix(), source
