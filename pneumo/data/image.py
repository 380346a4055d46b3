"""One image file becomes (S, S) uint8: the one preprocessing of training, prediction and export."""

import io
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

MAX_PIXELS = 100_000_000  # the largest radiographs have about 20 million
MAX_BYTES = 512_000_000  # of a file; 100 million pixels of 16 bits are 200 MB
Image.MAX_IMAGE_PIXELS = None  # Pillow's own bound only warns; ours refuses, before decoding
FORMATS = ("PNG", "JPEG")
SUFFIXES = (".jpeg", ".jpg", ".png", ".dcm", ".dicom")  # of files that are read as images
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
ASPECTS = ("stretch", "pad")
VERSION = 3  # part of the cache's key; raise it with every change of a pixel's value

DEPTHS = (8, 10, 12, 14, 16)  # bits of detectors
DEPTH_SHARE = 0.99  # of the pixels, which the depth must hold; the rest may be marks or defects

# What is not a radiograph like those of the set of Kermany et al.
MIN_SIDE = 64  # pixels; the smallest radiograph of the set has a side of 127
RATIOS = (0.5, 3.5)  # width over height; the set's radiographs have about 0.9 to 3.4
MIN_DEVIATION = 8.0  # grey values; 309 radiographs of the set have at least 31
MAX_CHROMA = 6.0  # grey values, mean of the largest less the smallest channel; the set's have 0
DRAFT = 256  # pixels to which a JPEG is shrunk while it is decoded, enough to see colour
MANY_PIXELS = 25_000_000  # larger images are sampled for colour


class ImageError(ValueError):
    """A file that cannot be used as an image; the message begins with its name."""


def prepare(data: bytes, *, size: int, aspect: str = "stretch", name: str = "image") -> np.ndarray:
    """Returns (size, size) uint8 grey values of an encoded PNG or JPEG; see decode and resize."""
    return resize(decode(data, name=name), size=size, aspect=aspect)


def decode(data: bytes, *, name: str = "image") -> np.ndarray:
    """Returns (H, W) uint8 grey values of an encoded image; 0 is black.

    Colour becomes luma (ITU-R 601), transparency lies on black, a camera's orientation tag is
    applied. A camera's JPEG with several pictures (MPO) gives the first. More than 8 bits are
    scaled from the smallest of DEPTHS that holds DEPTH_SHARE of the pixels, since 12-bit images are
    often stored in 16; brighter pixels become white.

    Raises:
        ImageError: not an image, truncated, several frames, or over MAX_PIXELS; with ``name``.
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _check(image, name)
            # 16 bits in several channels (W3C PNG, 11.2.1), of which Pillow drops the lower 8
            if data[:8] == PNG_MAGIC and data[24] == 16 and data[25] in (2, 4, 6):
                return _scaled(_deep_luma(data))
            if image.mode == "RGB":  # a JPEG's luma as it is stored: half the time, for a grey
                image.draft("L", None)  # radiograph the same values; no other format has a draft
            image.load()
            return _grey(ImageOps.exif_transpose(image))
    except UnidentifiedImageError:
        raise ImageError(f"{name}: must be a PNG, JPEG or DICOM image; it is not") from None
    except ImageError:
        raise
    except Exception as error:  # Pillow raises many types on broken files
        raise _damaged(name, error) from None


def from_picture(picture: Image.Image, *, name: str = "image") -> np.ndarray:
    """Returns (H, W) uint8 grey values of a PIL image, by the rules of decode for its file.

    Raises:
        ImageError: with ``name``: damaged, several frames, over MAX_PIXELS, or values out of range.
    """
    try:
        _check(picture, name)
        upright = ImageOps.exif_transpose(picture)
        if upright.mode == "F":
            return from_array(np.asarray(upright), name=name)
        if upright.mode.startswith("I"):  # 16 bits, which Pillow may hold in 32
            _check_range(np.asarray(upright), 2**16 - 1, name)
        return _grey(upright)
    except ImageError:
        raise
    except Exception as error:  # see decode
        raise _damaged(name, error) from None


def from_array(values: np.ndarray, *, name: str = "image") -> np.ndarray:
    """Returns (H, W) uint8 grey values of (H, W) values; 0 is black.

    uint8 stays as it is, uint16 is scaled as a 16-bit PNG (see decode), and floats from 0 to 1
    are multiplied by 255 and rounded.

    Raises:
        ImageError: with ``name``: another shape, dtype or range, or over MAX_PIXELS.
    """
    if values.ndim != 2 or not 0 < values.size <= MAX_PIXELS:
        raise ImageError(
            f"{name}: an array must have the shape (H, W), 1 to {MAX_PIXELS:,} pixels; got "
            f"{values.shape}. Give several images as a list, and colour as a PIL image"
        )
    if values.dtype == np.uint8:
        return values
    if values.dtype.newbyteorder("=") == np.uint16:
        return _scaled(values)
    if values.dtype.kind != "f":
        raise ImageError(
            f"{name}: an array must be of uint8, uint16 or float from 0 to 1; got {values.dtype}"
        )
    _check_range(values, 1, name)
    return np.round(values * 255).astype(np.uint8)


def resize(image: np.ndarray, *, size: int, aspect: str = "stretch") -> np.ndarray:
    """Returns (size, size) uint8 of (H, W) uint8, by a triangle filter without aliasing.

    ``aspect``: "stretch" changes the proportions, as the paper did; "pad" keeps them and adds
    black on both shorter sides.
    """
    picture = Image.fromarray(image)
    fitted, corner = placement(*picture.size, size=size, aspect=aspect)
    black = Image.new("L", (size, size))
    black.paste(picture.resize(fitted, Image.Resampling.BILINEAR), corner)
    return np.asarray(black)


def placement(
    width: int, height: int, *, size: int, aspect: str
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Returns the size that `resize` gives a picture, and its upper left corner in the result."""
    if aspect not in ASPECTS:
        raise ValueError(f"data.aspect must be one of {', '.join(ASPECTS)}; got {aspect!r}")
    if aspect == "stretch":
        return (size, size), (0, 0)
    # as ImageOps.pad, which fails if the shorter side rounds to 0
    across, down = (max(1, round(side / max(width, height) * size)) for side in (width, height))
    return (across, down), (round((size - across) / 2), round((size - down) / 2))


def read(path: Path) -> bytes:
    """Returns the bytes of a file; ImageError with its name: unreadable, or over MAX_BYTES."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ImageError(f"{path}: a file may have at most {MAX_BYTES:,} bytes")
        return path.read_bytes()
    except OSError as error:
        raise ImageError(f"{path}: cannot be read ({error.strerror})") from None


def num_pixels(path: Path) -> float:
    """Returns width times height by the header of an image file; NaN if it is not an image."""
    try:
        with Image.open(path) as image:
            return float(image.width * image.height)
    except Exception:  # see decode
        return float("nan")


def odd_pixels(grey: np.ndarray, *, chroma: float = 0.0) -> list[str]:
    """Returns why (H, W) uint8 cannot be a radiograph like the set's; [] if it can.

    ``chroma``: of the file, see `chroma`.
    """
    height, width = grey.shape
    reasons = {
        "colour": chroma > MAX_CHROMA,
        f"small: {width} x {height} pixels": min(height, width) < MIN_SIDE,
        f"shape: {width} x {height} pixels": not RATIOS[0] <= width / height <= RATIOS[1],
        "nearly uniform": grey.std() < MIN_DEVIATION,
    }
    return [reason for reason, holds in reasons.items() if holds]


def chroma(data: bytes) -> float:
    """Returns how coloured a PNG or JPEG is, 0 to 255: mean of largest less smallest channel."""
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        image.draft("RGB", (DRAFT, DRAFT))
        return picture_chroma(image)


def picture_chroma(image: Image.Image) -> float:
    """Returns how coloured a PIL image is, see `chroma`."""
    if image.mode in ("1", "L", "LA", "F") or image.mode.startswith("I"):
        return 0.0
    if image.width * image.height > MANY_PIXELS:
        image = image.resize((DRAFT, DRAFT), Image.Resampling.NEAREST)
    channels = np.asarray(image.convert("RGB"))
    return float((channels.max(2).astype(np.int16) - channels.min(2)).mean())


def saved_as(data: bytes) -> dict[str, Any]:
    """Returns format, mode, width, height and quality by the header of a PNG or JPEG."""
    with Image.open(io.BytesIO(data), formats=FORMATS) as opened:
        tables: dict[int, list[int]] = getattr(opened, "quantization", None) or {}
        return {
            "format": str(opened.format),
            "mode": opened.mode,
            "width": opened.width,
            "height": opened.height,
            "quality": jpeg_quality(tables[0]) if 0 in tables else "",
        }


def jpeg_quality(table: Sequence[int]) -> str:
    """Returns the quality for which libjpeg makes a luma table (64,), or "about" the nearest."""
    distance = np.abs(_quality_tables() - np.array(table)).sum(1)
    # of equal tables, as the coarsest are, the higher quality
    nearest = len(distance) - int(np.argmin(distance[::-1]))
    return f"{nearest}" if distance.min() == 0 else f"about {nearest}"


@cache
def _quality_tables() -> np.ndarray:
    """Returns (100, 64): the luma table of libjpeg for each quality from 1 to 100."""
    tables = []
    for quality in range(1, 101):
        file = io.BytesIO()
        Image.new("L", (8, 8)).save(file, "JPEG", quality=quality)
        with Image.open(file) as opened:
            tables.append(opened.quantization[0])  # type: ignore[attr-defined]
    return np.array(tables)


def _damaged(name: str, error: Exception) -> ImageError:
    return ImageError(
        f"{name}: the image is damaged or truncated ({error or type(error).__name__})"
    )


def _check(image: Image.Image, name: str) -> None:
    """Raises ImageError if an image has too many or no pixels, or several frames."""
    if not 0 < image.width * image.height <= MAX_PIXELS:
        raise ImageError(
            f"{name}: an image must have 1 to {MAX_PIXELS:,} pixels; this one has "
            f"{image.width:,} x {image.height:,}"
        )
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":
        raise ImageError(f"{name}: must hold one frame; got {frames}")


def _check_range(values: np.ndarray, top: int, name: str) -> None:
    low, high = values.min(), values.max()
    if not (low >= 0 and high <= top):  # NaN is neither
        raise ImageError(
            f"{name}: values of {values.dtype} must be from 0 to {top:,}; got {low:g} to {high:g}"
        )


def _grey(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I"):
        return _scaled(np.asarray(image))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        black = Image.new("RGBA", rgba.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, rgba).convert("RGB")
    elif image.mode in ("P", "CMYK", "YCbCr", "HSV", "LAB"):
        image = image.convert("RGB")
    return np.array(image.convert("L"))


def _scaled(values: np.ndarray) -> np.ndarray:
    """Returns uint8 of whole numbers up to 65,535, by the smallest of DEPTHS that fits."""
    held = np.cumsum(np.bincount(values.ravel(), minlength=2**16)) / values.size
    top = next(2**bits - 1 for bits in DEPTHS if held[2**bits - 1] >= DEPTH_SHARE)
    of_value = np.round(np.arange(top + 1) * (255 / top)).astype(np.uint8)
    return np.asarray(of_value[np.minimum(values, top)])


def _deep_luma(data: bytes) -> np.ndarray:
    """Returns (H, W) uint16 luma of a PNG of 16 bits in several channels, transparency on black."""
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise OSError("OpenCV cannot decode it")
    luma = pixels[..., :3] @ np.array([0.114, 0.587, 0.299])  # ITU-R 601; OpenCV has blue first
    if pixels.shape[2] == 4:
        luma *= pixels[..., 3] / 65535
    return np.asarray(np.round(luma), np.uint16)
