"""Generated radiographs on disk in the layout of the RSNA Pneumonia Detection Challenge."""

from itertools import cycle, islice
from pathlib import Path

import numpy as np
import pandas as pd

from pneumo import atomic
from pneumo.data.phantom_drawing import draw_anatomy, draw_boxes, draw_radiograph
from pneumo.data.rsna import IMAGES, LABEL_COLUMNS, LABELS
from pneumo.labels import BACTERIA, VIRUS

# In turn; a third of the challenge's patients has boxes, here it is half
SUBTYPES = ("normal", BACTERIA, "normal", VIRUS)
COMPUTED = "1.2.840.10008.5.1.4.1.1.1"  # SOP class Computed Radiography (PS3.4, B.5)
MIN_IMAGES = 24  # with fewer, a subtype has no patient with several images


def check_numbers(num_images: int, seed: int) -> None:
    """Raises ValueError if there are too few images or the seed is negative."""
    if num_images < MIN_IMAGES:
        raise ValueError(f"num_images must be at least {MIN_IMAGES}; got {num_images}")
    if seed < 0:
        raise ValueError(f"seed must be 0 or more; got {seed}")


def write(out: Path, *, num_images: int, seed: int) -> Path:
    """Returns ``out``, a new folder that then holds as many patients with one image each.

    Args:
        out: appears whole or not at all.
        num_images: at least MIN_IMAGES.
        seed: 0 or more; the same one draws the same images.

    Raises:
        FileExistsError: it already exists.
        ValueError: the numbers are out of range, or pydicom is missing.
    """
    if out.exists():
        raise FileExistsError(f"--out must be a new folder; {out} exists. Name another")
    check_numbers(num_images, seed)
    labels: list[tuple[object, ...]] = []
    with atomic.replacing_folder(out) as folder:
        (folder / IMAGES).mkdir()
        for number, subtype in enumerate(islice(cycle(SUBTYPES), num_images)):
            patient = f"phantom-{seed}-{number:05}"
            boxes = _draw(folder / IMAGES / f"{patient}.dcm", number, subtype=subtype, seed=seed)
            corners = [(x0, y0, x1 - x0, y1 - y0) for x0, y0, x1, y1 in boxes]
            without = (patient, *4 * [None], 0)
            labels += [(patient, *box, 1) for box in corners] or [without]
        pd.DataFrame(labels, columns=LABEL_COLUMNS).to_csv(folder / LABELS, index=False)
    return out


def _draw(path: Path, number: int, *, subtype: str, seed: int) -> np.ndarray:
    """Writes one image; returns its boxes (N, 4)."""
    anatomy = draw_anatomy(np.random.default_rng((seed, number, 0)))
    state = (seed, number, 1)  # image and boxes are drawn from the same random numbers
    pixels = draw_radiograph(np.random.default_rng(state), subtype=subtype, anatomy=anatomy)
    boxes, _ = draw_boxes(np.random.default_rng(state), subtype=subtype, anatomy=anatomy)
    _write_dicom(path, pixels)
    return boxes


def _write_dicom(path: Path, pixels: np.ndarray) -> None:
    """Writes (H, W) uint8, uncompressed, of the patient that the file is named by."""
    try:
        from pydicom import Dataset, FileMetaDataset  # late: an extra
        from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid
    except ImportError:
        raise ValueError("--layout rsna needs pydicom: pip install 'pneumo[dicom]'") from None
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = UID(COMPUTED)
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[path.stem])
    file = Dataset()
    file.file_meta = meta
    file.SOPClassUID, file.SOPInstanceUID = COMPUTED, meta.MediaStorageSOPInstanceUID
    file.PatientID, file.Modality = path.stem, "CR"
    file.PhotometricInterpretation, file.SamplesPerPixel = "MONOCHROME2", 1
    file.Rows, file.Columns = pixels.shape
    file.BitsAllocated = file.BitsStored = 8
    file.HighBit, file.PixelRepresentation = 7, 0
    file.PixelData = pixels.tobytes() + b"\0" * (pixels.size % 2)  # an even length
    file.save_as(path, enforce_file_format=True)
