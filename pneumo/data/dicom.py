"""A DICOM radiograph becomes (H, W) uint8, as pneumo.data.image makes of a PNG or JPEG."""

import io
import warnings
from collections.abc import MutableSequence
from typing import Any

import numpy as np
from PIL import Image

from pneumo.data.image import MAX_CHROMA, MAX_PIXELS, ImageError

MAGIC = b"DICM"  # at byte 128 of a file (DICOM PS3.10, section 7.1)
# Computed, digital and plain radiographs (DICOM PS3.3, C.7.3.1.1.1), not mammograms (MG);
# OT (other) and SC (a radiograph scanned afterwards) are how scanned radiographs are stored
MODALITIES = ("CR", "DX", "RG", "OT", "SC")
# as screens are stored, whose three channels are grey; the last two within JPEG 2000
COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT")
GREY = ("MONOCHROME1", "MONOCHROME2")  # DICOM PS3.3, C.7.6.3.1.2; the first shows 0 as white
DEFLATED = b"1.2.840.10008.1.2.1.99"  # transfer syntax, named in a file's first bytes (PS3.10)
HEADER_BYTES = 2000
DIRECTORY = b"1.2.840.10008.1.3.10"  # SOP class of a DICOMDIR, the index of a disk (PS3.10)
RAW = "1.2.840.10008.5.1.4.1.1.1.1.1"  # SOP class Digital X-Ray, For Processing (PS3.4, B.5)
END_OF_IMAGE = b"\xff\xd9"  # of JPEG, JPEG-LS and JPEG 2000 alike (ITU-T T.81, T.87, T.800)
END_BYTES = 64  # in which it must be: a fragment is padded to an even length, some pad more
# Numbers that a file may lack; an empty one counts as missing (PS3.5, 7.4.5)
OPTIONAL = (
    *("RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth"),
    *("PixelPaddingValue", "PixelPaddingRangeLimit", "NumberOfFrames"),
)
NO_DECODER = "missing dependencies"  # in pydicom's message if it has no decoder
INSTALL = "python -m pip install 'pneumo[dicom]'"


def is_dicom(data: bytes) -> bool:
    """Returns whether the bytes begin as a DICOM file does: 128 of any kind, then DICM.

    Or without that preamble, as old archives write: with an element of group 0002 or 0008.
    """
    bare = data[:2] in (b"\x02\x00", b"\x08\x00") and data[3:4] == b"\x00" and data[2:3] < b"\x20"
    return data[128:132] == MAGIC or bare


def is_directory(data: bytes) -> bool:
    """Returns whether the bytes begin as a DICOMDIR does, which lists images and holds none."""
    return DIRECTORY in data[:HEADER_BYTES]


def decode(data: bytes, *, name: str = "image") -> np.ndarray:
    """Returns (H, W) uint8 grey values of a DICOM file; 0 is black, whatever the file declares.

    In the order of DICOM PS3.3, C.11: the modality's rescaling (or lookup table), then its VOI
    lookup table or its first window. A slope that is missing or empty is 1, such an intercept 0.
    Without table and window, 8 bits stay as they are, as in a PNG, and more are spread from the
    smallest to the largest value. Padding (0028,0120) does not count and becomes black.
    MONOCHROME1 is inverted. Three equal channels become their luma. A compressed picture must
    have its end, since decoders fill in what is missing.

    A file without Modality (0008,0060) is accepted as a radiograph; one without
    PhotometricInterpretation (0028,0004) is refused, since black and white would be ambiguous.

    Raises:
        ImageError: with ``name``: pydicom or a decoder is missing, the file is damaged, truncated,
            not a radiograph, not for presentation, in colour, of several frames, over MAX_PIXELS,
            or lacks its pixels.
    """
    try:
        import pydicom  # late: an extra, and a third of a second
    except ImportError:
        raise ImageError(f"{name}: DICOM needs pydicom and its decoders: {INSTALL}") from None
    if DEFLATED in data[:HEADER_BYTES]:  # it would be inflated whole before any check
        raise ImageError(f"{name}: must not be a deflated DICOM file; use another transfer syntax")
    if is_directory(data):
        raise ImageError(f"{name}: must be an image; it is a DICOMDIR, the index of a disk")
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")  # of values that break the standard's form only
            dataset = _dataset(pydicom, data)
            _check(dataset, name)
            stored = _stored(dataset, name)
            return _grey(dataset, stored) if stored.ndim == 2 else _from_colour(stored, name)
    except ImageError:
        raise
    except Exception as error:  # pydicom and the decoders raise many types on broken files
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ImageError(f"{name}: the DICOM file is damaged or truncated ({reason})") from None


def _dataset(pydicom: Any, data: bytes) -> Any:
    """Returns the dataset; the transfer syntax of a file without preamble is inferred.

    Each tag of OPTIONAL is reduced to its first value, and removed if that is empty.
    """
    dataset = pydicom.dcmread(io.BytesIO(data), force=data[128:132] != MAGIC)
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, little = dataset.original_encoding
        explicit = pydicom.uid.ExplicitVRLittleEndian if little else pydicom.uid.ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = (
            pydicom.uid.ImplicitVRLittleEndian if implicit else explicit
        )
    for tag in OPTIONAL:
        value = dataset.get(tag, 0)
        if isinstance(value, MutableSequence):
            value = dataset[tag].value = next(iter(value), None)
        if value in (None, ""):
            delattr(dataset, tag)
    return dataset


def _check(dataset: Any, name: str) -> None:
    """Raises ImageError if the header is not that of a single grey radiograph."""
    modality = dataset.get("Modality") or "CR"
    if modality not in MODALITIES:
        raise ImageError(
            f"{name}: Modality (0008,0060) must be one of {', '.join(MODALITIES)}, a radiograph; "
            f"got {modality!r}"
        )
    raw = dataset.get("PresentationIntentType") == "FOR PROCESSING"
    if raw or dataset.get("SOPClassUID") == RAW:
        raise ImageError(
            f"{name}: PresentationIntentType (0008,0068) must be FOR PRESENTATION; this one is FOR "
            "PROCESSING, the detector's raw values. Export the image that a viewer shows"
        )
    frames = int(dataset.get("NumberOfFrames", 1))
    if frames != 1:
        raise ImageError(f"{name}: must hold one frame; got {frames}. Export one of them")
    kinds = COLOUR if dataset.SamplesPerPixel == 3 else GREY
    if dataset.PhotometricInterpretation not in kinds:
        raise ImageError(
            f"{name}: PhotometricInterpretation (0028,0004) must be one of "
            f"{', '.join((*GREY, *COLOUR))}; got {dataset.PhotometricInterpretation!r} of "
            f"{dataset.SamplesPerPixel} samples"
        )
    if dataset.BitsAllocated not in (8, 16):
        raise ImageError(f"{name}: must have 8 or 16 bits allocated; got {dataset.BitsAllocated}")
    if dataset.Rows * dataset.Columns > MAX_PIXELS:
        raise ImageError(
            f"{name}: an image may have at most {MAX_PIXELS:,} pixels; "
            f"this one has {dataset.Columns:,} x {dataset.Rows:,}"
        )


def _stored(dataset: Any, name: str) -> np.ndarray:
    """Returns the (H, W) stored values, decompressed; (H, W, 3) RGB for three samples.

    Raises:
        ImageError: a compressed picture lacks its end, which decoders of JPEG fill with grey, or
            its decoder is missing. RLE and uncompressed values are counted by pydicom.
    """
    from pydicom.encaps import get_frame  # late, too
    from pydicom.pixels.utils import pixel_array  # makes RGB of YBR

    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax.is_encapsulated and "RLE" not in syntax.name:
        frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
        if END_OF_IMAGE not in frame[-END_BYTES:]:
            raise ImageError(
                f"{name}: its compressed picture is truncated: the end marker is missing"
            )
    try:
        stored: np.ndarray = pixel_array(dataset)
    except Exception as error:
        if isinstance(error, NotImplementedError) or NO_DECODER in str(error):
            raise ImageError(
                f"{name}: its compression ({syntax.name}) could not be decoded; {INSTALL} brings "
                f"the decoders ({' '.join(str(error).split())[:200]})"
            ) from None
        raise
    return stored


def _from_colour(rgb: np.ndarray, name: str) -> np.ndarray:
    """Returns the luma of (H, W, 3) uint8 with grey channels; ImageError if it is in colour."""
    if rgb.dtype != np.uint8 or np.ptp(rgb, axis=2).mean() > MAX_CHROMA:
        raise ImageError(f"{name}: must be a grey radiograph; this one is in colour")
    return np.asarray(Image.fromarray(rgb).convert("L"))


def _grey(dataset: Any, stored: np.ndarray) -> np.ndarray:
    """Returns (H, W) uint8 of the stored values; 0 is black.

    Each value is computed once, not each pixel: floats of a large image would take gigabytes.
    """
    first = int(stored.min())
    levels = np.arange(first, int(stored.max()) + 1)  # at most 65,536
    place = stored.astype(np.int32) - first
    used = np.zeros(levels.size, bool)
    used[place] = True
    padding = _padding(dataset, levels)
    shown = _shown(dataset, levels, used & ~padding)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        shown = 255 - shown
    shown[padding] = 0
    return np.asarray(shown[place])


def _shown(dataset: Any, levels: np.ndarray, used: np.ndarray) -> np.ndarray:
    """Returns (n,) uint8, the stored ``levels`` as a viewer shows them, before inversion.

    ``used``: (n,) bool, the levels that the picture has.
    """
    from pydicom.pixels.processing import apply_windowing  # late, too

    if dataset.get("ModalityLUTSequence"):
        values = _looked_up(levels, *_table(dataset, dataset.ModalityLUTSequence[0]))
    else:
        slope, intercept = dataset.get("RescaleSlope", 1), dataset.get("RescaleIntercept", 0)
        values = levels * float(slope) + float(intercept)  # PS3.3, C.11.1.1.2
    if dataset.get("VOILUTSequence"):
        first, entries = _table(dataset, dataset.VOILUTSequence[0])
        # white is the table's own largest value: some declare 16 bits and use 12
        shown, ends = _looked_up(values, first, entries), np.array([0, entries.max()])
    elif "WindowCenter" in dataset and dataset.get("WindowWidth"):
        dataset.VOILUTFunction = dataset.get("VOILUTFunction") or "LINEAR"  # it may be empty
        shown = apply_windowing(values, dataset)
        ends = apply_windowing(np.array([-1e12, 1e12]), dataset)  # its black and white
    else:
        seen = values[used]
        shown, ends = values, np.array([seen.min(), seen.max()] if seen.size else [0, 1])
        if dataset.BitsStored == 8 and (values == levels)[used].all() and levels[0] >= 0:
            ends = np.array([0, 255])
    low, high = float(ends[0]), float(ends[1])
    if not np.isfinite(low + high):
        raise ValueError("its rescaling or its window is not a finite number")
    scaled = (shown - low) * (255 / ((high - low) or 1))
    return np.clip(np.round(scaled), 0, 255).astype(np.uint8)


def _table(dataset: Any, item: Any) -> tuple[int, np.ndarray]:
    """Returns the first value that a lookup table maps, and its (n,) entries (PS3.3, C.11.1.1).

    pydicom looks up by an index of the entries' own type, which wraps if 8 bits have more than
    256 entries.
    """
    number, first, _ = item.LUTDescriptor
    data = item.LUTData
    if isinstance(data, bytes):
        wide = "<u2" if dataset.file_meta.TransferSyntaxUID.is_little_endian else ">u2"
        data = np.frombuffer(data, wide if len(data) >= 2 * (number or 2**16) else np.uint8)
    entries = np.atleast_1d(data).astype(np.float64)[: number or 2**16]
    if entries.size < (number or 2**16):  # 0 stands for 65,536
        raise ValueError(f"its lookup table has {entries.size} entries instead of {number}")
    return int(first), entries


def _looked_up(values: np.ndarray, first: int, entries: np.ndarray) -> np.ndarray:
    place = np.clip(np.round(values) - first, 0, entries.size - 1).astype(int)
    return np.asarray(entries[place])


def _padding(dataset: Any, levels: np.ndarray) -> np.ndarray:
    """Returns (n,) bool, the stored ``levels`` that mark padding."""
    value = dataset.get("PixelPaddingValue")
    if value is None:
        return np.zeros(levels.shape, bool)
    low, high = sorted((int(value), int(dataset.get("PixelPaddingRangeLimit", value))))
    return np.asarray((levels >= low) & (levels <= high))
