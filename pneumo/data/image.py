"""One image file becomes (S, S) uint8: the one preprocessing of training, prediction and export."""

import io
import logging
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

MAX_PIXELS = 100_000_000  # the largest radiographs have about 20 million
Image.MAX_IMAGE_PIXELS = None  # Pillow's own bound only warns; ours refuses, before decoding
FORMATS = ("PNG", "JPEG")
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
ASPECTS = ("stretch", "pad")
VERSION = 3  # part of the cache's key; raise it with every change of what a pixel becomes

DEPTHS = (8, 10, 12, 14, 16)  # bits that detectors have
DEPTH_SHARE = 0.99  # of the pixels, which the depth must hold; the rest may be marks or defects
BAND = 256  # rows that are converted together, so that a large image is not held several times

log = logging.getLogger(__name__)


class ImageError(ValueError):
    """A file that cannot be used as an image; the message begins with its name."""


def prepare(data: bytes, *, size: int, aspect: str = "stretch", name: str = "image") -> np.ndarray:
    """Returns (size, size) uint8 grey values of an encoded PNG or JPEG; see decode and resize."""
    return resize(decode(data, name=name), size=size, aspect=aspect)


def decode(data: bytes, *, name: str = "image", depths: list[int] | None = None) -> np.ndarray:
    """Returns (H, W) uint8 grey values of an encoded image; 0 is black.

    Colour becomes luma (ITU-R 601), transparency lies on black, a camera's orientation tag is
    followed. Of a camera's JPEG with several pictures (MPO) the first counts. More than 8 bits are
    scaled from the smallest of DEPTHS that holds DEPTH_SHARE of the pixels, since 12-bit images are
    often stored in 16; what is brighter becomes white. That depth is appended to ``depths``, and
    logged at the level DEBUG.

    Raises:
        ImageError: not an image, truncated, several frames, or over MAX_PIXELS; with ``name``.
    """
    if not data:
        raise ImageError(f"{name}: an image must not be empty; the file has 0 bytes")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _check(image, name)
            if _is_deep(data):  # of 16 bits in several channels Pillow drops the lower 8
                return _grey(Image.fromarray(_deep_luma(data)), name, depths)
            if image.mode == "RGB":  # a JPEG's luma as it is stored: half the time, for a grey
                image.draft("L", None)  # radiograph the same values; no other format has a draft
            image.load()
            upright = ImageOps.exif_transpose(image)
            return _grey(upright, name, depths)
    except UnidentifiedImageError:
        raise ImageError(f"{name}: must be a PNG or JPEG image; its content is neither") from None
    except ImageError:
        raise
    except Exception as error:  # Pillow raises of many kinds on broken files
        reason = str(error) or type(error).__name__
        raise ImageError(f"{name}: the image is damaged or cut off ({reason})") from None


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
        return _grey(upright, name, None)
    except ImageError:
        raise
    except Exception as error:  # see decode
        reason = str(error) or type(error).__name__
        raise ImageError(f"{name}: the image is damaged or cut off ({reason})") from None


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
    kind, num_bytes = values.dtype.kind, values.dtype.itemsize
    if (kind, num_bytes) == ("u", 1):
        return values
    if (kind, num_bytes) == ("u", 2):
        return _scaled(values, bit_depth(values), name)
    if kind != "f":
        raise ImageError(
            f"{name}: an array must be of uint8, uint16 or float from 0 to 1; got {values.dtype}"
        )
    _check_range(values, 1, name)
    return np.concatenate([np.round(part * 255).astype(np.uint8) for part in bands(values)])


def _check_range(values: np.ndarray, top: int, name: str) -> None:
    low, high = values.min(), values.max()
    if not (low >= 0 and high <= top):  # NaN is neither
        raise ImageError(
            f"{name}: values of {values.dtype} must be from 0 to {top:,}; got {low:g} to {high:g}"
        )


def resize(image: np.ndarray, *, size: int, aspect: str = "stretch") -> np.ndarray:
    """Returns (size, size) uint8 of (H, W) uint8, by a triangle filter without aliasing.

    ``aspect``: "stretch" changes the proportions, as the paper did; "pad" keeps them and adds
    black on both shorter sides.
    """
    picture = Image.fromarray(image)
    fitted, corner = placement(*picture.size, size=size, aspect=aspect)
    if picture.size != fitted:
        picture = picture.resize(fitted, Image.Resampling.BILINEAR)
    if fitted != (size, size):
        black = Image.new("L", (size, size))
        black.paste(picture, corner)
        picture = black
    pixels: np.ndarray = np.asarray(picture)
    return pixels


def placement(
    width: int, height: int, *, size: int, aspect: str
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Returns the size that `resize` gives a picture, and where its upper left corner then lies."""
    if aspect not in ASPECTS:
        raise ValueError(f"data.aspect must be one of {', '.join(ASPECTS)}; got {aspect!r}")
    if aspect == "stretch":
        return (size, size), (0, 0)
    # as ImageOps.pad, which fails where the shorter side comes to nothing
    across, down = (max(1, round(side / max(width, height) * size)) for side in (width, height))
    return (across, down), (round((size - across) / 2), round((size - down) / 2))


def read(path: Path) -> bytes:
    """Returns the bytes of a file; ValueError with its name where it cannot be read."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ImageError(f"{path}: cannot be read ({error.strerror})") from None


def num_pixels(path: Path) -> float:
    """Returns width times height as the header of an image file says; NaN where it is none."""
    try:
        with Image.open(path) as image:
            return float(image.width * image.height)
    except Exception:  # see decode
        return float("nan")


def _check(image: Image.Image, name: str) -> None:
    if not 0 < image.width * image.height <= MAX_PIXELS:
        raise ImageError(
            f"{name}: an image may have at most {MAX_PIXELS:,} pixels and must have one; "
            f"this one says {image.width:,} x {image.height:,}"
        )
    if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":
        raise ImageError(f"{name}: must hold one picture; got {image.n_frames} frames")  # type: ignore[attr-defined]


def bit_depth(values: np.ndarray) -> int:
    """Returns the smallest of DEPTHS that holds DEPTH_SHARE of (…) whole numbers, 0 to 65,535."""
    counts = sum(np.bincount(part.ravel(), minlength=2**16) for part in bands(values))
    held = np.cumsum(counts) / values.size
    return next(bits for bits in DEPTHS if held[2**bits - 1] >= DEPTH_SHARE)


def bands(values: np.ndarray) -> Iterator[np.ndarray]:
    """Yields views of BAND rows at a time."""
    return (values[top : top + BAND] for top in range(0, len(values), BAND))


def _grey(image: Image.Image, name: str, depths: list[int] | None) -> np.ndarray:
    if image.mode.startswith("I"):
        values = np.asarray(image)
        bits = bit_depth(values)
        if depths is not None:
            depths.append(bits)
        return _scaled(values, bits, name)
    grey = np.empty((image.height, image.width), np.uint8)
    for top in range(0, image.height, BAND):
        bottom = min(top + BAND, image.height)
        grey[top:bottom] = _luma(image.crop((0, top, image.width, bottom)))
    return grey


def _scaled(values: np.ndarray, bits: int, name: str) -> np.ndarray:
    top = 2**bits - 1
    brighter = int(sum(np.count_nonzero(part > top) for part in bands(values)))
    log.debug("%s: taken as %d bits; %d pixels are brighter and become white", name, bits, brighter)
    of_value = np.round(np.arange(top + 1) * (255 / top)).astype(np.uint8)
    return np.concatenate([of_value[np.minimum(part, top)] for part in bands(values)])


def _is_deep(data: bytes) -> bool:
    """Whether a PNG has 16 bits in several channels (its header, W3C PNG, section 11.2.1)."""
    return data[:8] == PNG_MAGIC and data[24] == 16 and data[25] in (2, 4, 6)


def _deep_luma(data: bytes) -> np.ndarray:
    """(H, W) uint16 luma of a PNG of 16 bits in several channels, on black where it has alpha."""
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise OSError("OpenCV cannot decode it")
    parts = []
    for part in bands(pixels):
        luma = part[..., :3] @ np.array([0.114, 0.587, 0.299])  # ITU-R 601; OpenCV has blue first
        if part.shape[2] == 4:
            luma *= part[..., 3] / 65535
        parts.append(np.round(luma).astype(np.uint16))
    return np.concatenate(parts)


def _luma(image: Image.Image) -> np.ndarray:
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        black = Image.new("RGBA", rgba.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, rgba).convert("RGB")
    elif image.mode in ("P", "CMYK", "YCbCr", "HSV", "LAB"):
        image = image.convert("RGB")
    return np.asarray(image.convert("L"))
