"""Whether the pixels of a file can be a radiograph like those of the set."""

import io

import numpy as np
from PIL import Image

MIN_SIDE = 64  # pixels; the smallest radiograph of the set has a side of 127
ASPECTS = (0.5, 3.5)  # width over height; the set's radiographs have about 0.9 to 3.4
MIN_DEVIATION = 8.0  # grey values; 309 radiographs of the set have at least 31
MAX_CHROMA = 6.0  # grey values, mean of the largest less the smallest channel; the set's have 0
DRAFT = 256  # pixels to which a JPEG is shrunk while it is decoded, enough to see colour
MANY_PIXELS = 25_000_000  # larger images are sampled for colour


def odd_pixels(grey: np.ndarray, *, chroma: float = 0.0) -> list[str]:
    """Returns why (H, W) uint8 cannot be a radiograph like the set's; [] if it can.

    ``chroma``: of the file, see `chroma`.
    """
    height, width = grey.shape
    reasons = {
        "colour": chroma > MAX_CHROMA,
        f"small: {width} x {height} pixels": min(height, width) < MIN_SIDE,
        f"shape: {width} x {height} pixels": not ASPECTS[0] <= width / height <= ASPECTS[1],
        "nearly uniform": grey.std() < MIN_DEVIATION,
    }
    return [reason for reason, holds in reasons.items() if holds]


def chroma(data: bytes) -> float:
    """Returns how coloured a PNG or JPEG is, 0 to 255: mean of largest less smallest channel.

    pneumo.data.image must have decoded ``data`` before, which refuses too large images.
    """
    with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as image:
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
