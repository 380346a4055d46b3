"""How a file was saved: format, mode, size and JPEG quality, by its header alone."""

import io
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from PIL import Image

from pneumo.data import image


def saved_as(data: bytes) -> dict[str, Any]:
    """Returns format, mode, width, height and quality by the header of a PNG or JPEG."""
    with Image.open(io.BytesIO(data), formats=image.FORMATS) as opened:
        tables: dict[int, list[int]] = getattr(opened, "quantization", None) or {}
        return {
            "format": str(opened.format),
            "mode": opened.mode,
            "width": opened.width,
            "height": opened.height,
            "quality": jpeg_quality(tables[0]) if 0 in tables else "",
        }


def jpeg_quality(table: Sequence[int]) -> str:
    """Returns the quality for which libjpeg makes a luma table, or "about" the nearest, or "".

    Args:
        table: the 64 numbers of a quantisation table; any other length gives "".
    """
    if len(table) != 64:
        return ""
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
