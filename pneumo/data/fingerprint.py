"""The preprocessing's result for three fixed images, so that a changed library is noticed.

A hash alone would refuse harmless changes: decoders and resizers of other versions may round a
half the other way. So some pixels are kept, too, and only a difference above TOLERANCE is an error:
torch's filter of the same shape differs by 1, each other filter tried by 19 and more. DICOM is not
among the images, since pydicom is an extra.
"""

import hashlib
import io
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL
from PIL import Image

from pneumo.data import image

JPEG = Path(__file__).with_name("fingerprint.jpeg")  # kept: encoders differ, too
HEIGHT, WIDTH = 300, 400  # of the drawn images, pixels
SIDE = 16  # pixels kept each way, spread over the prepared image
TOLERANCE = 2  # grey levels of 255: decoding and resizing may each round one the other way


def take(*, size: int, aspect: str, mean: float, std: float) -> dict[str, Any]:
    """Returns the entry of metrics.json: a SHA-256 of all pixels, some of them, and the versions.

    ``size`` is the side of the prepared image in pixels; mean and std are the standardisation's,
    in grey values.
    """
    prepared = {
        name: image.prepare(data, size=size, aspect=aspect, name=name)
        for name, data in _images().items()
    }
    place = np.arange(SIDE) * size // SIDE
    rows = np.ix_(place, place)  # unchanged pixels: a mean would hide aliasing
    digest = hashlib.sha256(b"".join(pixels.tobytes() for pixels in prepared.values()))
    return {
        "sha256": digest.hexdigest(),
        "pixels": {name: pixels[rows].tobytes().hex() for name, pixels in prepared.items()},
        "mean": mean,
        "std": std,
        "versions": {"pillow": PIL.__version__, "opencv": cv2.__version__},
    }


def check(kept: Mapping[str, Any], *, size: int, aspect: str, mean: float, std: float) -> None:
    """Raises ValueError if this installation prepares images in another way than the run did.

    ``kept`` is the result of `take` when the run was trained; mean and std are the network's.
    """
    if not np.allclose([kept["mean"], kept["std"]], [mean, std], rtol=1e-4):
        raise ValueError(
            f"a run's images must be standardised as in its training, by {kept['mean']:.3f} and "
            f"{kept['std']:.3f}; its checkpoint has {mean:.3f} and {std:.3f}. Copy the run folder "
            "again"
        )
    now = take(size=size, aspect=aspect, mean=mean, std=std)
    wrong = []
    for name, texts in ((name, (kept["pixels"][name], now["pixels"][name])) for name in _images()):
        before, after = (np.frombuffer(bytes.fromhex(text), np.uint8) for text in texts)
        if (most := np.abs(before.astype(int) - after).max()) > TOLERANCE:
            wrong.append(f"{name} by {most}")
    if wrong:
        had, has = (
            ", ".join(f"{name} {version}" for name, version in each["versions"].items())
            for each in (kept, now)
        )
        raise ValueError(
            f"images must be prepared as in the run's training, to within {TOLERANCE} of 255 grey "
            f"levels; here differ {', '.join(wrong)}. The run had {had}, here are {has}: install "
            "the run's"
        )


@cache
def _images() -> dict[str, bytes]:
    """Returns the encoded images; a PNG file has the same pixels by any encoder."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]  # rings with hard edges, finer outwards
    rings = np.asarray((x * x + y * y) // 17 % 256)
    deep = rings * 16 + rings % 16  # 12 bits in 16
    encoded = {"jpeg": JPEG.read_bytes()}
    for name, pixels in (("png", rings.astype(np.uint8)), ("16-bit png", deep.astype(np.uint16))):
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        encoded[name] = file.getvalue()
    return encoded
