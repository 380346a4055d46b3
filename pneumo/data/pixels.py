"""Whether the pixels of a file can be a radiograph like the set's."""

import io

import numpy as np
from PIL import Image

MIN_SIDE = 64  # pixels; the smallest radiograph of the set has a side of 127
ASPECTS = (0.5, 3.5)  # width over height; the set's radiographs have about 0.9 to 3.4
MIN_DEVIATION = 8.0  # grey values; 309 radiographs of the set have at least 31
MAX_CHROMA = 6.0  # grey values, mean of the largest less the smallest channel; the set's have 0
DRAFT = 256  # pixels to which a JPEG is shrunk while it is decoded, enough to see colour
MANY_PIXELS = 25_000_000  # more are sampled for colour


def odd_pixels(grey: np.ndarray, *, chroma: float = 0.0) -> list[str]:
    """Returns why (H, W) uint8 cannot be a radiograph like the set's; [] where it can.

    ``chroma``: of the file, see `chroma`.
    """
    height, width = grey.shape
    reasons = []
    if chroma > MAX_CHROMA:
        reasons.append("colour")
    if min(height, width) < MIN_SIDE:
        reasons.append(f"small: {width} x {height} pixels")
    if not ASPECTS[0] <= width / height <= ASPECTS[1]:
        reasons.append(f"shape: {width} x {height} pixels")
    if grey.std() < MIN_DEVIATION:
        reasons.append("nearly uniform")
    return reasons


def chroma(data: bytes) -> float:
    """Returns how coloured a PNG or JPEG is, 0 to 255: mean of largest less smallest channel.

    ``data`` must have been decoded by pneumo.data.image before, which refuses what is too large.
    """
    with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as image:
        image.draft("RGB", (DRAFT, DRAFT))
        return picture_chroma(image)


def picture_chroma(image: Image.Image) -> float:
    """Returns how coloured a PIL image is, see `chroma`."""
    if image.mode in ("1", "L", "LA", "F") or image.mode.startswith("I"):
        return 0.0
    many = image.width * image.height > MANY_PIXELS
    some = image.resize((DRAFT, DRAFT), Image.Resampling.NEAREST) if many else image
    channels = np.asarray(some.convert("RGB"))
    return float((channels.max(2).astype(np.int16) - channels.min(2)).mean())
