"""One image file becomes (S, S) uint8: the one preprocessing of training, prediction and export."""

import io
import logging
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

MAX_PIXELS = 100_000_000  # the largest radiographs have about 20 million
Image.MAX_IMAGE_PIXELS = None  # Pillow's own bound only warns; ours refuses, before decoding
FORMATS = ("PNG", "JPEG")
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
ASPECTS = ("stretch", "pad")
VERSION = 3  # part of the cache's key; raise it with every change of a pixel's value

DEPTHS = (8, 10, 12, 14, 16)  # bits of detectors
DEPTH_SHARE = 0.99  # of the pixels, which the depth must hold; the rest may be marks or defects

log = logging.getLogger(__name__)


class ImageError(ValueError):
    """A file that cannot be used as an image; the message begins with its name."""


def prepare(data: bytes, *, size: int, aspect: str = "stretch", name: str = "image") -> np.ndarray:
    """Returns (size, size) uint8 grey values of an encoded PNG or JPEG; see decode and resize."""
    return resize(decode(data, name=name), size=size, aspect=aspect)


def decode(data: bytes, *, name: str = "image", depths: list[int] | None = None) -> np.ndarray:
    """Returns (H, W) uint8 grey values of an encoded image; 0 is black.

    Colour becomes luma (ITU-R 601), transparency lies on black, a camera's orientation tag is
    applied. A camera's JPEG with several pictures (MPO) gives the first. More than 8 bits are
    scaled from the smallest of DEPTHS that holds DEPTH_SHARE of the pixels, since 12-bit images are
    often stored in 16; brighter pixels become white. That depth is appended to ``depths``, and
    logged at the level DEBUG.

    Raises:
        ImageError: not an image, truncated, several frames, or over MAX_PIXELS; with ``name``.
    """
    if not data:
        raise ImageError(f"{name}: an image must not be empty; the file has 0 bytes")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _check(image, name)
            # 16 bits in several channels (W3C PNG, 11.2.1), of which Pillow drops the lower 8
            if data[:8] == PNG_MAGIC and data[24] == 16 and data[25] in (2, 4, 6):
                return _grey(Image.fromarray(_deep_luma(data)), name, depths)
            if image.mode == "RGB":  # a JPEG's luma as it is stored: half the time, for a grey
                image.draft("L", None)  # radiograph the same values; no other format has a draft
            image.load()
            return _grey(ImageOps.exif_transpose(image), name, depths)
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
        return _grey(upright, name, None)
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
    return np.round(values * 255).astype(np.uint8)


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
    """Returns the size that `resize` gives a picture, and its upper left corner in the result."""
    if aspect not in ASPECTS:
        raise ValueError(f"data.aspect must be one of {', '.join(ASPECTS)}; got {aspect!r}")
    if aspect == "stretch":
        return (size, size), (0, 0)
    # as ImageOps.pad, which fails if the shorter side rounds to 0
    across, down = (max(1, round(side / max(width, height) * size)) for side in (width, height))
    return (across, down), (round((size - across) / 2), round((size - down) / 2))


def read(path: Path) -> bytes:
    """Returns the bytes of a file; ImageError with its name if it cannot be read."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ImageError(f"{path}: cannot be read ({error.strerror})") from None


def num_pixels(path: Path) -> float:
    """Returns width times height by the header of an image file; NaN if it is not an image."""
    try:
        with Image.open(path) as image:
            return float(image.width * image.height)
    except Exception:  # see decode
        return float("nan")


def bit_depth(values: np.ndarray) -> int:
    """Returns the smallest of DEPTHS that holds DEPTH_SHARE of (…) whole numbers, 0 to 65,535."""
    held = np.cumsum(np.bincount(values.ravel(), minlength=2**16)) / values.size
    return next(bits for bits in DEPTHS if held[2**bits - 1] >= DEPTH_SHARE)


def _damaged(name: str, error: Exception) -> ImageError:
    return ImageError(
        f"{name}: the image is damaged or truncated ({error or type(error).__name__})"
    )


def _check(image: Image.Image, name: str) -> None:
    if not 0 < image.width * image.height <= MAX_PIXELS:
        raise ImageError(
            f"{name}: an image must have 1 to {MAX_PIXELS:,} pixels; this one has "
            f"{image.width:,} x {image.height:,}"
        )
    if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":
        raise ImageError(f"{name}: must hold one picture; got {image.n_frames} frames")  # type: ignore[attr-defined]


def _check_range(values: np.ndarray, top: int, name: str) -> None:
    low, high = values.min(), values.max()
    if not (low >= 0 and high <= top):  # NaN is neither
        raise ImageError(
            f"{name}: values of {values.dtype} must be from 0 to {top:,}; got {low:g} to {high:g}"
        )


def _grey(image: Image.Image, name: str, depths: list[int] | None) -> np.ndarray:
    if image.mode.startswith("I"):
        values = np.asarray(image)
        bits = bit_depth(values)
        if depths is not None:
            depths.append(bits)
        return _scaled(values, bits, name)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        black = Image.new("RGBA", rgba.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, rgba).convert("RGB")
    elif image.mode in ("P", "CMYK", "YCbCr", "HSV", "LAB"):
        image = image.convert("RGB")
    return np.array(image.convert("L"))


def _scaled(values: np.ndarray, bits: int, name: str) -> np.ndarray:
    top = 2**bits - 1
    log.debug(
        "%s: read as %d bits; %d pixels are brighter and become white",
        *(name, bits, np.count_nonzero(values > top)),
    )
    of_value = np.round(np.arange(top + 1) * (255 / top)).astype(np.uint8)
    scaled: np.ndarray = of_value[np.minimum(values, top)]
    return scaled


def _deep_luma(data: bytes) -> np.ndarray:
    """Returns (H, W) uint16 luma of a PNG of 16 bits in several channels, transparency on black."""
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise OSError("OpenCV cannot decode it")
    luma = pixels[..., :3] @ np.array([0.114, 0.587, 0.299])  # ITU-R 601; OpenCV has blue first
    if pixels.shape[2] == 4:
        luma *= pixels[..., 3] / 65535
    return np.asarray(np.round(luma), np.uint16)
