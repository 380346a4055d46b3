from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from pneumo.data import fingerprint, image
from tests.conftest import Patch

SHAPE: dict[str, Any] = {"size": 64, "aspect": "stretch", "mean": 120.0, "std": 60.0}
Resize = Callable[..., np.ndarray]


def by_opencv(pixels: np.ndarray, *, size: int, aspect: str) -> np.ndarray:
    return cv2.resize(pixels, (size, size), interpolation=cv2.INTER_AREA)


def by_box(pixels: np.ndarray, *, size: int, aspect: str) -> np.ndarray:
    return np.asarray(Image.fromarray(pixels).resize((size, size), Image.Resampling.BOX))


def brighter(by: int) -> Resize:
    resize = image.resize  # before it is replaced
    return lambda pixels, **shape: np.minimum(resize(pixels, **shape), 255 - by) + np.uint8(by)


def test_it_is_small_and_the_same_but_for_roundings_and_standardisation(monkeypatch: Patch) -> None:
    kept = fingerprint.take(**SHAPE)
    assert kept == fingerprint.take(**SHAPE)
    assert kept["versions"]["opencv"] == cv2.__version__
    assert {len(text) for text in kept["pixels"].values()} == {2 * fingerprint.SIDE**2}
    fingerprint.check(kept, **SHAPE)
    with pytest.raises(ValueError, match=r"by 120\.000 and 60\.000; its checkpoint has 121\.000"):
        fingerprint.check(kept, **SHAPE | {"mean": 121.0})
    monkeypatch.setattr(image, "resize", brighter(fingerprint.TOLERANCE))
    assert fingerprint.take(**SHAPE)["sha256"] != kept["sha256"]
    fingerprint.check(kept, **SHAPE)


@pytest.mark.parametrize("resize", [by_opencv, by_box, brighter(3)])
def test_another_resize_is_an_error_that_names_it(resize: Resize, monkeypatch: Patch) -> None:
    kept = fingerprint.take(**SHAPE)
    kept["versions"] = {"pillow": "1.2.3"}
    monkeypatch.setattr(image, "resize", resize)
    with pytest.raises(ValueError, match=r"here differ jpeg by \d+.* The run had pillow 1\.2\.3"):
        fingerprint.check(kept, **SHAPE)
