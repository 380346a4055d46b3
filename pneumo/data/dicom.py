"""A DICOM radiograph becomes (H, W) uint8, as pneumo.data.image makes of a PNG or JPEG."""

import io
import math
import struct
import warnings
from collections.abc import MutableSequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pneumo.data.image import MAX_PIXELS, ImageError, bands
from pneumo.data.pixels import MAX_CHROMA

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
# markers that begin a frame and say its size (T.81 table B.1; 0xF7 of T.87)
FRAMES = (*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0), 0xF7)
SIZE_OF_J2K = b"\xff\x4f\xff\x51"  # a JPEG 2000 codestream and its size (T.800, A.5.1)
# Numbers that a file may lack; an empty one counts as missing (PS3.5, 7.4.5)
OPTIONAL = (
    *("RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth"),
    *("PixelPaddingValue", "PixelPaddingRangeLimit", "NumberOfFrames"),
)
NEEDED = (
    *("PixelData", "PhotometricInterpretation", "SamplesPerPixel", "Rows", "Columns"),
    *("BitsAllocated", "BitsStored", "PixelRepresentation"),
)
NO_DECODER = "missing dependencies"  # in what pydicom says where it has none
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
    """Returns (H, W) uint8 grey values of a DICOM file; 0 is black, whatever the file calls so.

    In the order of DICOM PS3.3, C.11: the modality's rescaling (or lookup table), then its VOI
    lookup table or its first window. A slope that is missing or empty is 1, such an intercept 0.
    Without table and window, 8 bits stay as they are, as in a PNG, and
    more are spread from the smallest to the largest value. Padding (0028,0120) does not count and
    becomes black. MONOCHROME1 is turned around. Of three equal channels the luma counts.
    A compressed picture must be whole, since decoders fill up what is missing.

    A file without Modality (0008,0060) is taken for a radiograph; one without
    PhotometricInterpretation (0028,0004) is refused, since black and white could not be told.

    Raises:
        ImageError: with ``name``: pydicom or a decoder is missing, the file is damaged or cut off,
            no radiograph, not for presentation, in colour, of several frames, over MAX_PIXELS, or
            lacks its pixels.
    """
    try:
        return _decode(data, name)
    except ImageError:
        raise
    except Exception as error:  # pydicom and the decoders raise of many kinds on broken files
        raise _damaged(name, error) from None


def size(path: Path, *, name: str) -> tuple[int, int]:
    """Returns width and height in pixels as the header of a DICOM file says; no pixel is read.

    Raises:
        ImageError: with ``name``: pydicom is missing, or the header cannot be read.
    """
    pydicom = _pydicom(name)
    try:
        header = pydicom.dcmread(
            path, stop_before_pixels=True, specific_tags=["Rows", "Columns"], force=True
        )
        return int(header.Columns), int(header.Rows)
    except Exception as error:  # see decode
        raise _damaged(name, error) from None


def _decode(data: bytes, name: str) -> np.ndarray:
    pydicom = _pydicom(name)
    if DEFLATED in data[:HEADER_BYTES]:  # it would be inflated whole before any check
        raise ImageError(f"{name}: must not be a deflated DICOM file; store it in another syntax")
    if is_directory(data):
        raise ImageError(f"{name}: must be an image; it is a DICOMDIR, the index of a disk")
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # of values that break the standard's form, not its sense
        dataset = _dataset(pydicom, data)
        _normalise_optional(dataset, name)
        _check(dataset, name)
        _check_whole(dataset, name)
        stored = _stored(dataset, name)
        if stored.ndim == 3:
            return _from_colour(stored, name)
        return _grey(dataset, stored)


def _dataset(pydicom: Any, data: bytes) -> Any:
    """Returns the dataset; of a file without preamble, with the transfer syntax that was found."""
    dataset = pydicom.dcmread(io.BytesIO(data), force=data[128:132] != MAGIC)
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, little = dataset.original_encoding
        explicit = pydicom.uid.ExplicitVRLittleEndian if little else pydicom.uid.ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = (
            pydicom.uid.ImplicitVRLittleEndian if implicit else explicit
        )
    return dataset


def _normalise_optional(dataset: Any, name: str) -> None:
    """Reduces each tag of OPTIONAL to its first value, and removes it where that is empty.

    Raises:
        ImageError: with ``name``: one is no finite number.
    """
    for tag in OPTIONAL:
        try:
            value = dataset.get(tag, 0)
            if isinstance(value, MutableSequence):
                value = dataset[tag].value = next(iter(value), None)
            if value in (None, ""):
                delattr(dataset, tag)
            elif not math.isfinite(float(value)):
                raise ValueError(f"got {value}")
        except (TypeError, ValueError, OverflowError) as error:
            raise ImageError(f"{name}: {tag} must be a number, empty or missing; {error}") from None


def _pydicom(name: str) -> Any:
    try:
        import pydicom  # late: an extra, and a third of a second
    except ImportError:
        raise ImageError(f"{name}: DICOM needs pydicom and its decoders: {INSTALL}") from None
    return pydicom


def _damaged(name: str, error: Exception) -> ImageError:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return ImageError(f"{name}: the DICOM file is damaged or cut off ({reason})")


def _check(dataset: Any, name: str) -> None:
    """Raises ImageError where the header already says that this is no single grey radiograph."""
    modality = dataset.get("Modality") or "CR"
    if modality not in MODALITIES:
        raise ImageError(
            f"{name}: Modality (0008,0060) must be one of {', '.join(MODALITIES)}, a radiograph; "
            f"got {modality!r}"
        )
    for tag in NEEDED:
        if dataset.get(tag) in (None, "", b""):
            raise ImageError(
                f"{name}: a DICOM image must have {tag}; this one does not. It is cut off, or "
                "holds no image"
            )
    raw = dataset.get("PresentationIntentType") == "FOR PROCESSING"
    if raw or dataset.get("SOPClassUID") == RAW:
        raise ImageError(
            f"{name}: PresentationIntentType (0008,0068) must be FOR PRESENTATION; this one is FOR "
            "PROCESSING, the detector's raw values. Export the image that a viewer shows"
        )
    frames = int(dataset.get("NumberOfFrames", 1))
    if frames != 1:
        raise ImageError(f"{name}: must hold one picture; got {frames} frames. Export one of them")
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
            f"this one says {dataset.Columns:,} x {dataset.Rows:,}"
        )


def _stored(dataset: Any, name: str) -> np.ndarray:
    """Returns the (H, W) stored values, decompressed; (H, W, 3) RGB where there are three."""
    from pydicom.pixels.utils import pixel_array  # late too; of YBR it makes RGB

    try:
        stored: np.ndarray = pixel_array(dataset)
    except Exception as error:
        if isinstance(error, NotImplementedError) or NO_DECODER in str(error):
            syntax = dataset.file_meta.TransferSyntaxUID.name
            raise ImageError(
                f"{name}: its compression ({syntax}) could not be decoded; {INSTALL} brings the "
                f"decoders ({' '.join(str(error).split())[:200]})"
            ) from None
        raise _damaged(name, error) from None
    if stored.ndim != 2 and stored.shape[2:] != (3,):
        raise ImageError(f"{name}: must hold one picture; got values of {stored.shape}")
    return stored


def _from_colour(rgb: np.ndarray, name: str) -> np.ndarray:
    """(H, W, 3) uint8 with grey channels to (H, W) luma; ImageError where it is in colour."""
    apart = sum(int(np.ptp(part, axis=2).sum()) for part in bands(rgb))
    if rgb.dtype != np.uint8 or apart > MAX_CHROMA * rgb[..., 0].size:
        raise ImageError(f"{name}: must be a grey radiograph; this one is in colour")
    return np.concatenate([np.asarray(Image.fromarray(part).convert("L")) for part in bands(rgb)])


def _check_whole(dataset: Any, name: str) -> None:
    """Raises ImageError where a compressed picture lacks its end or has another size than it says.

    Decoders of JPEG fill up what is missing with grey, and ask for memory by the size in the
    stream. Run-length coding (RLE) and uncompressed values need no check here: pydicom counts them.
    """
    syntax = dataset.file_meta.TransferSyntaxUID
    if not syntax.is_encapsulated and dataset["PixelData"].is_undefined_length:
        raise ImageError(
            f"{name}: its picture is compressed, but its transfer syntax (0002,0010) says that it "
            f"is not: {syntax.name}"
        )
    if not syntax.is_encapsulated or "RLE" in syntax.name:
        return
    from pydicom.encaps import get_frame  # late too

    frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
    if END_OF_IMAGE not in frame[-END_BYTES:]:
        raise ImageError(f"{name}: its compressed picture is cut off: the end marker is missing")
    lines, columns = _size(frame)
    if (lines, columns) != (dataset.Rows, dataset.Columns):
        raise ImageError(
            f"{name}: its compressed picture must have the {dataset.Rows} lines and "
            f"{dataset.Columns} columns that Rows (0028,0010) and Columns say; "
            f"it has {lines} and {columns}"
        )


def _size(frame: bytes) -> tuple[int, int]:
    """Returns lines and columns as a JPEG, JPEG-LS or JPEG 2000 stream says; zeros where none."""
    place = frame.find(SIZE_OF_J2K, 0, HEADER_BYTES)  # not at 0 within a JP2 file
    if place >= 0:
        right, bottom, left, top = struct.unpack_from(">4I", frame, place + 8)
        return bottom - top, right - left
    place = 2
    while frame[:2] == b"\xff\xd8" and place + 9 <= len(frame) and frame[place] == 0xFF:
        marker, length = frame[place + 1], int(struct.unpack_from(">H", frame, place + 2)[0])
        if marker in FRAMES:
            lines, columns = struct.unpack_from(">HH", frame, place + 5)
            return int(lines), int(columns)
        place += 1 if marker == 0xFF else 2 + length  # a marker may follow fill bytes
    return 0, 0


def _grey(dataset: Any, stored: np.ndarray) -> np.ndarray:
    """Returns (H, W) uint8 of the stored values; 0 is black.

    Each value is worked out once, not each pixel: floats of a large one would take gigabytes.
    """
    first = int(stored.min())
    levels = np.arange(first, int(stored.max()) + 1)  # at most 65,536
    used = np.zeros(levels.size, bool)
    for part in bands(stored):
        used[part.astype(np.int32) - first] = True
    padding = _padding(dataset, levels)
    shown = _shown(dataset, levels, used & ~padding)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        shown = 255 - shown
    shown[padding] = 0
    return np.concatenate([shown[part.astype(np.int32) - first] for part in bands(stored)])


def _shown(dataset: Any, levels: np.ndarray, used: np.ndarray) -> np.ndarray:
    """Returns (n,) uint8, the stored ``levels`` as a viewer shows them, before any turning around.

    ``used``: (n,) bool, those that the picture has.
    """
    from pydicom.pixels.processing import apply_windowing  # late too

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
        ends = apply_windowing(np.array([-1e12, 1e12]), dataset)  # what it calls black and white
    else:
        seen = values[used]
        shown, ends = values, np.array([seen.min(), seen.max()] if seen.size else [0, 1])
        if dataset.BitsStored == 8 and (values == levels)[used].all() and levels[0] >= 0:
            ends = np.array([0, 255])
    low, high = float(ends[0]), float(ends[1])
    scaled = (shown - low) * (255 / ((high - low) or 1))
    return np.clip(np.round(scaled), 0, 255).astype(np.uint8)


def _table(dataset: Any, item: Any) -> tuple[int, np.ndarray]:
    """Returns the first value that a lookup table maps, and its (n,) entries (PS3.3, C.11.1.1).

    pydicom looks up by an index of the entries' own type, which wraps where 8 bits have more than
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
    found: np.ndarray = entries[np.clip(np.round(values) - first, 0, entries.size - 1).astype(int)]
    return found


def _padding(dataset: Any, levels: np.ndarray) -> np.ndarray:
    """Returns (n,) bool, which of the stored ``levels`` say that there is no picture."""
    value = dataset.get("PixelPaddingValue")
    if value is None:
        return np.zeros(levels.shape, bool)
    low, high = sorted((int(value), int(dataset.get("PixelPaddingRangeLimit", value))))
    padding: np.ndarray = (levels >= low) & (levels <= high)
    return padding
