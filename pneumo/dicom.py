"""A DICOM radiograph becomes (H, W) uint8, as pneumo.image makes of a PNG or JPEG."""

import io
import warnings
from typing import Any

import numpy as np

from pneumo.image import MAX_PIXELS

MAGIC = b"DICM"  # at byte 128 of a file (DICOM PS3.10, section 7.1)
# Computed, digital and plain radiographs (DICOM PS3.3, C.7.3.1.1.1), not mammograms (MG);
# OT (other) and SC (a film scanned afterwards) are how scanned films are stored
MODALITIES = ("CR", "DX", "RG", "OT", "SC")
GREY = ("MONOCHROME1", "MONOCHROME2")  # DICOM PS3.3, C.7.6.3.1.2; the first shows 0 as white
DEFLATED = b"1.2.840.10008.1.2.1.99"  # transfer syntax, named in a file's first bytes (PS3.10)
HEADER_BYTES = 2000
NO_DECODER = "missing dependencies"  # in what pydicom says where it has none
INSTALL = "python -m pip install 'pneumo[dicom]'"


def is_dicom(data: bytes) -> bool:
    """Returns whether the bytes begin as a DICOM file does: 128 of any kind, then DICM."""
    return data[128:132] == MAGIC


def decode(data: bytes, *, name: str = "image") -> np.ndarray:
    """Returns (H, W) uint8 grey values of a DICOM file; 0 is black, whatever the file calls so.

    In the order of DICOM PS3.3, C.11: the modality's rescaling (or lookup table), then its VOI
    lookup table or its first window. Without either, 8 bits stay as they are, as in a PNG, and
    more are spread from the smallest to the largest value. Padding (0028,0120) does not count and
    becomes black. MONOCHROME1 is turned around.

    A file without Modality (0008,0060) is taken for a radiograph; one without
    PhotometricInterpretation (0028,0004) is refused, since black and white could not be told.

    Raises:
        ValueError: with ``name``: pydicom or a decoder is missing, the file is damaged, no
            radiograph, in colour, of several frames, over MAX_PIXELS, or lacks its pixels.
    """
    pydicom = _pydicom(name)
    if DEFLATED in data[:HEADER_BYTES]:  # it would be inflated whole before any check
        raise ValueError(f"{name}: must not be a deflated DICOM file; store it in another syntax")
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # of values that break the standard's form, not its sense
        try:
            dataset = pydicom.dcmread(io.BytesIO(data))
        except Exception as error:  # pydicom raises of many kinds on broken files
            raise _damaged(name, error) from None
        _check(dataset, name)
        stored = _stored(dataset, name)
        try:
            values, padding = _shown(dataset, stored), _padding(dataset, stored)
        except Exception as error:
            raise _damaged(name, error) from None
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        values = 255 - values
    values[padding] = 0
    return values


def _pydicom(name: str) -> Any:
    try:
        import pydicom  # late: an extra, and a third of a second
    except ImportError:
        raise ValueError(f"{name}: DICOM needs pydicom and its decoders: {INSTALL}") from None
    return pydicom


def _damaged(name: str, error: Exception) -> ValueError:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return ValueError(f"{name}: the DICOM file is damaged or cut off ({reason})")


def _check(dataset: Any, name: str) -> None:
    """Raises ValueError where the header already says that this is no single grey radiograph."""
    modality = dataset.get("Modality") or "CR"
    if modality not in MODALITIES:
        raise ValueError(
            f"{name}: Modality (0008,0060) must be one of {', '.join(MODALITIES)}, a radiograph; "
            f"got {modality!r}"
        )
    for tag in ("PixelData", "PhotometricInterpretation", "Rows", "Columns", "BitsAllocated"):
        if dataset.get(tag) in (None, "", b""):
            raise ValueError(f"{name}: a DICOM image must have {tag}; this one does not")
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames != 1:
        raise ValueError(f"{name}: must hold one picture; got {frames} frames. Export one of them")
    if dataset.PhotometricInterpretation not in GREY or dataset.get("SamplesPerPixel", 1) != 1:
        raise ValueError(
            f"{name}: PhotometricInterpretation (0028,0004) must be one of {', '.join(GREY)}; got "
            f"{dataset.PhotometricInterpretation!r}"
        )
    if dataset.BitsAllocated not in (8, 16):
        raise ValueError(f"{name}: must have 8 or 16 bits allocated; got {dataset.BitsAllocated}")
    if dataset.Rows * dataset.Columns > MAX_PIXELS:
        raise ValueError(
            f"{name}: an image may have at most {MAX_PIXELS:,} pixels; "
            f"this one says {dataset.Columns:,} x {dataset.Rows:,}"
        )


def _stored(dataset: Any, name: str) -> np.ndarray:
    """Returns the (H, W) stored values, decompressed."""
    try:
        stored: np.ndarray = dataset.pixel_array
    except Exception as error:
        if isinstance(error, NotImplementedError) or NO_DECODER in str(error):
            syntax = dataset.file_meta.TransferSyntaxUID.name
            raise ValueError(
                f"{name}: its compression ({syntax}) could not be decoded; {INSTALL} brings the "
                f"decoders ({' '.join(str(error).split())[:200]})"
            ) from None
        raise _damaged(name, error) from None
    if stored.ndim != 2:
        raise ValueError(f"{name}: must hold one grey picture; got values of {stored.shape}")
    return stored


def _shown(dataset: Any, stored: np.ndarray) -> np.ndarray:
    """Returns (H, W) uint8 as a viewer shows it, before MONOCHROME1 is turned around."""
    from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut  # late too

    values = np.asarray(apply_modality_lut(stored, dataset), dtype=np.float64)
    if dataset.get("VOILUTSequence"):
        bits = int(dataset.VOILUTSequence[0].LUTDescriptor[2])
        shown, ends = apply_voi_lut(values.round().astype(int), dataset), np.array([0, 2**bits - 1])
    elif dataset.get("WindowCenter") not in (None, "") and dataset.get("WindowWidth"):
        shown = apply_voi_lut(values, dataset)
        ends = apply_voi_lut(np.array([-1e12, 1e12]), dataset)  # what it calls black and white
    else:
        seen = values[~_padding(dataset, stored)]
        shown, ends = values, np.array([seen.min(), seen.max()] if seen.size else [0, 1])
        if dataset.BitsStored == 8 and (values == stored).all():
            ends = np.array([0, 255])
    low, high = float(ends[0]), float(ends[1])
    scaled = (np.asarray(shown, dtype=np.float64) - low) * (255 / ((high - low) or 1))
    return np.clip(np.round(scaled), 0, 255).astype(np.uint8)


def _padding(dataset: Any, stored: np.ndarray) -> np.ndarray:
    """Returns (H, W) bool, where the file says that there is no picture."""
    value = dataset.get("PixelPaddingValue")
    if value in (None, ""):
        return np.zeros(stored.shape, bool)
    end = dataset.get("PixelPaddingRangeLimit")
    low, high = sorted((int(value), int(value if end in (None, "") else end)))
    padding: np.ndarray = (stored >= low) & (stored <= high)
    return padding
