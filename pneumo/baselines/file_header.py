"""A classifier that never decodes an image: how the files of the two classes were saved."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image, UnidentifiedImageError
from sklearn.ensemble import HistGradientBoostingClassifier

from pneumo.baselines.base import Baseline
from pneumo.data.image import FORMATS
from pneumo.evaluation.metrics import Array


class FileHeader(Baseline):
    """Gradient-boosted trees on a file's header and size."""

    def features(self, table: pd.DataFrame, images: np.ndarray, *, root: Path) -> Array:
        """Returns (N, 8) of `header`; ``images`` are not used."""
        return np.array([header(root / path) for path in table["path"]], dtype=np.float64)

    def classifier(self, train: pd.DataFrame, *, seed: int) -> Any:
        """Returns trees with scikit-learn's default settings."""
        return HistGradientBoostingClassifier(random_state=seed % 2**32)


def header(path: Path) -> list[float]:
    """Returns eight numbers of an image file without decoding a pixel.

    Width and height in pixels; width over height; bytes of the file; the same per pixel; number
    of channels; mean of the JPEG's luma quantisation table, which falls as quality rises (29 at
    75, 5 at 95), and that of its chroma table; 0 for a missing table. The number of bytes is not
    part of the header, and rises with the detail in the picture.

    Raises:
        ValueError: the file is neither JPEG nor PNG, such as a DICOM file.
    """
    size = path.stat().st_size
    try:
        opened = Image.open(path, formats=FORMATS)
    except UnidentifiedImageError:
        raise ValueError(
            f"model=file_header reads the headers of JPEG and PNG files; {path} is neither. Leave "
            "it out, or take model=thumbnail_svm"
        ) from None
    with opened as image:
        tables: dict[int, list[int]] = getattr(image, "quantization", None) or {}
        luma, chroma = (
            float(np.mean(tables[number])) if number in tables else 0.0 for number in (0, 1)
        )
        width, height, channels = image.width, image.height, len(image.getbands())
    pixels = width * height
    return [width, height, width / height, size, size / pixels, channels, luma, chroma]
