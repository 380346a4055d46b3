"""One image file becomes (S, S) uint8: the one preprocessing of training, prediction and export."""

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

MAX_PIXELS = 100_000_000  # the largest radiographs have about 20 million
Image.MAX_IMAGE_PIXELS = None  # Pillow's own bound only warns; ours refuses, before decoding
FORMATS = ("PNG", "JPEG")
ASPECTS = ("stretch", "pad")
VERSION = 2  # part of the cache's key; raise it with every change of what a pixel becomes


def prepare(data: bytes, *, size: int, aspect: str = "stretch", name: str = "image") -> np.ndarray:
    """Returns (size, size) uint8 grey values of an encoded PNG or JPEG; see decode and resize."""
    return resize(decode(data, name=name), size=size, aspect=aspect)


def decode(data: bytes, *, name: str = "image") -> np.ndarray:
    """Returns (H, W) uint8 grey values of an encoded image; 0 is black.

    Colour becomes luma (ITU-R 601), transparency lies on black, a camera's orientation tag is
    followed. More than 8 bits are scaled from the smallest of 8, 10, 12, 14 and 16 bits that
    holds the largest value, since 12-bit films are often stored in 16.

    Raises:
        ValueError: not an image, truncated, several frames, or over MAX_PIXELS; with ``name``.
    """
    if not data:
        raise ValueError(f"{name}: an image must not be empty; the file has 0 bytes")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _check(image, name)
            if image.mode == "RGB":  # a JPEG's luma as it is stored: half the time, for a grey
                image.draft("L", None)  # film the same values; no other format has a draft
            image.load()
            upright = ImageOps.exif_transpose(image)
            return _grey(upright)
    except UnidentifiedImageError:
        raise ValueError(f"{name}: must be a PNG or JPEG image; its content is neither") from None
    except (OSError, SyntaxError, EOFError) as error:
        raise ValueError(f"{name}: the image is damaged or cut off ({error})") from None


def resize(image: np.ndarray, *, size: int, aspect: str = "stretch") -> np.ndarray:
    """Returns (size, size) uint8 of (H, W) uint8, by a triangle filter without aliasing.

    ``aspect``: "stretch" changes the proportions, as the paper did; "pad" keeps them and adds
    black on both shorter sides.
    """
    if aspect not in ASPECTS:
        raise ValueError(f"data.aspect must be one of {', '.join(ASPECTS)}; got {aspect!r}")
    picture = Image.fromarray(image)
    if aspect == "pad":
        picture = ImageOps.pad(picture, (size, size), method=Image.Resampling.BILINEAR)
    elif picture.size != (size, size):
        picture = picture.resize((size, size), Image.Resampling.BILINEAR)
    pixels: np.ndarray = np.asarray(picture)
    return pixels


def read(path: Path) -> bytes:
    """Returns the bytes of a file; ValueError with its name where it cannot be read."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from None


def num_pixels(path: Path) -> float:
    """Returns width times height as the header of an image file says; NaN where it is none."""
    try:
        with Image.open(path) as image:
            return float(image.width * image.height)
    except OSError:
        return float("nan")


def _check(image: Image.Image, name: str) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(
            f"{name}: an image may have at most {MAX_PIXELS:,} pixels; "
            f"this one says {image.width:,} x {image.height:,}"
        )
    if getattr(image, "n_frames", 1) > 1:
        raise ValueError(f"{name}: must hold one picture; got {image.n_frames} frames")  # type: ignore[attr-defined]


def _grey(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I"):
        values = np.asarray(image)
        bits = next(bits for bits in (8, 10, 12, 14, 16) if values.max() < 2**bits)
        scaled: np.ndarray = np.round(values * (255 / (2**bits - 1))).astype(np.uint8)
        return scaled
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        black = Image.new("RGBA", rgba.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, rgba).convert("RGB")
    elif image.mode in ("P", "CMYK", "YCbCr", "HSV", "LAB"):
        image = image.convert("RGB")
    grey: np.ndarray = np.asarray(image.convert("L"))
    return grey
