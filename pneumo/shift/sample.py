"""Images become numbers that can be compared: of the file, of the picture, of the network."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from pneumo.data import dicom, image, reader
from pneumo.data.folder import with_patients
from pneumo.data.kermany import parse_name
from pneumo.data.labelled import COLUMNS, SOURCES, join_duplicates
from pneumo.data.reader import Radiograph
from pneumo.inference.leakage import digests
from pneumo.inference.networks import Networks, batches, check_readable, read_shown
from pneumo.labels import CLASS_NAMES, PNEUMONIA

BATCH_SIZE = 32  # images
THREADS = 2  # that decode ahead
BLACK, WHITE = 8, 247  # grey values up to which a pixel is black, and from which it is white
OF_IMAGES = "of the images"  # a measure that is 1 or 0, and whose mean is shown
EDGE = 0.05  # of a side: the frame whose brightness rises with a closer crop


@dataclass(frozen=True)
class Measure:
    """A number of each image."""

    title: str
    about: str  # a few words
    seen_in: str  # file, picture or network
    digits: int = 3


MEASURES = {
    "width": Measure("width", "pixels of the file", "file", 0),
    "height": Measure("height", "pixels of the file", "file", 0),
    "aspect": Measure("width / height", "of the file", "file", 2),
    "bytes": Measure("bytes per pixel", "of the file: compression, and detail", "file"),
    "jpeg": Measure("share saved as JPEG", OF_IMAGES, "file", 2),
    "quality": Measure("JPEG quality", "libjpeg's scale, 1 to 100", "file", 0),
    "colour": Measure("share saved in colour", OF_IMAGES, "file", 2),
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

    table: pd.DataFrame  # path, group (patient), label ("" if unknown), and MEASURES as float64
    features: np.ndarray  # (N, c) float32, the input of the network's last layer
    layout: np.ndarray  # (N, 73), see pneumo.inference.ood
    unreadable: tuple[tuple[str, str], ...] = ()  # path, reason

    def __len__(self) -> int:
        return len(self.table)


def read(
    networks: Networks, root: Path, table: pd.DataFrame, *, all_readable: bool = False
) -> Sample:
    """Returns the images of a table (path, group, label) as the first of ``networks`` gets them.

    Paths are relative to ``root``. The sample names images that cannot be read.

    Raises:
        UnreadableError: ``all_readable``, and an image cannot be read.
        ValueError: none of them can be read.
    """
    row_of = {str(root / path): row for row, path in enumerate(table["path"])}
    shape = networks.shapes[0]
    rows, features, layout, unreadable = [], [], [], []

    def readable() -> Iterator[Radiograph]:
        names = list(row_of)
        for radiograph in read_shown(names, "measuring", shapes=networks.shapes, threads=THREADS):
            if all_readable:
                check_readable(radiograph)
            if radiograph.error:
                path = str(table["path"].iloc[row_of[radiograph.name]])
                unreadable.append((path, radiograph.error))
            else:
                yield radiograph

    for batch in batches(readable(), batch_size=BATCH_SIZE):
        scored = networks.score(batch)
        features.append(scored.features)
        layout.append(scored.layout)
        for radiograph, p in zip(batch, scored.pneumonia[0], strict=True):
            values = of_file(radiograph) | of_picture(radiograph.prepared[shape])
            rows.append({"row": row_of[radiograph.name], **values, "p_pneumonia": float(p)})
    if not rows:
        path, why = unreadable[0]
        raise ValueError(
            f"at least one image must be readable; none of {len(table):,} is: {path}: {why}"
        )
    measured = pd.DataFrame(rows)
    facts = table[["path", "group", "label"]].iloc[measured["row"]].reset_index(drop=True)
    return Sample(
        pd.concat([facts, measured[list(MEASURES)].astype(np.float64)], axis=1),
        np.concatenate(features),
        np.concatenate(layout),
        tuple(unreadable),
    )


def of_file(radiograph: Radiograph) -> dict[str, float]:
    """Returns the measures of an image's file; the quality is NaN if it is not a JPEG."""
    width, height = radiograph.size
    data = image.read(Path(radiograph.name))
    of_dicom = {"format": "DICOM", "mode": "L", "quality": ""}
    saved = of_dicom if dicom.is_dicom(data) else image.saved_as(data)
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

    Framing is measured by the place of the brightness, not by anatomy: a closely cropped thorax
    has a bright edge and fills the frame; one off the middle has its centre there.
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
    """Returns the names of the measures of the file, the picture or the network."""
    return [name for name, measure in MEASURES.items() if measure.seen_in == seen_in]


def unlabelled(data: Path, *, patient_key: str) -> tuple[Path, pd.DataFrame]:
    """Returns the folder that paths are relative to, and the table of all images below it.

    Columns path, label, subtype, patient, source, known_by and group; label and subtype are empty.
    A file whose name does not follow the set's grammar has the patient of `with_patients`.
    FileNotFoundError: there is no such folder, or no image in it.
    """
    files = reader.find([str(data)])[0] if data.is_dir() else []
    if not files:
        raise FileNotFoundError(
            f"--data must be a folder with at least one image ({', '.join(reader.SUFFIXES)}); got "
            f"{data}"
        )
    paths = [Path(os.path.relpath(path, data)) for path in files]
    rows = [(path.as_posix(), "", "", *_patient(path, data, patient_key)) for path in paths]
    table = pd.DataFrame(rows, columns=list(COLUMNS)).sort_values("path", ignore_index=True)
    known_by = np.where(table["patient"] == "", "", "name")
    table = with_patients(table.assign(known_by=known_by), data)
    bytes_of = digests([data / path for path in table["path"]])
    return data, table.assign(group=join_duplicates(table, bytes_of))


def _patient(path: Path, data: Path, patient_key: str) -> tuple[str, str]:
    """Returns the patient by a name of the set, and the source if a folder is named as one."""
    places = (*path.parts[:-1], data.resolve().name)
    source = next((place for place in places if place in SOURCES), "")
    names = (f"{source or 'test'}/{label}/{path.name}" for label in CLASS_NAMES)
    parsed = next(filter(None, (parse_name(n, patient_key=patient_key) for n in names)), None)
    return parsed[3] if parsed else "", source
