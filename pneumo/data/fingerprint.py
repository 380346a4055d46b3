"""What the preprocessing makes of three fixed images, so that a changed library is noticed.

A hash alone would refuse what does no harm: decoders and resizers of other versions may round a
half the other way. So some pixels are kept, too, and only a difference above TOLERANCE is an error:
torch's filter of the same shape differs by 1, each other filter tried by 19 and more. DICOM is not
among the images, since pydicom is an extra.
"""

import hashlib
import struct
import zlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL

from pneumo.data import image

JPEG = Path(__file__).with_name("fingerprint.jpeg")  # kept: encoders differ, too
HEIGHT, WIDTH = 300, 400  # of the drawn ones, pixels
SIDE = 16  # pixels kept each way, spread over the prepared image
TOLERANCE = 2  # grey levels of 255: decoding and resizing may each round one the other way


def take(*, size: int, aspect: str, mean: float, std: float) -> dict[str, Any]:
    """Returns what metrics.json keeps: a SHA-256 of all pixels, some of them, and the versions.

    Args:
        size: side of the prepared image, pixels.
        aspect: stretch or pad.
        mean: of the standardisation, grey values.
        std: of it, grey values.
    """
    prepared = {
        name: image.prepare(data, size=size, aspect=aspect, name=name)
        for name, data in _images().items()
    }
    digest = hashlib.sha256(b"".join(pixels.tobytes() for pixels in prepared.values()))
    return {
        "sha256": digest.hexdigest(),
        "pixels": {name: _kept(pixels).tobytes().hex() for name, pixels in prepared.items()},
        "mean": mean,
        "std": std,
        "versions": {"pillow": PIL.__version__, "opencv": cv2.__version__},
    }


def check(kept: Mapping[str, Any], *, size: int, aspect: str, mean: float, std: float) -> None:
    """Raises ValueError where this installation prepares images in another way than the run did.

    Args:
        kept: what `take` returned when the run was trained.
        size: see `take`; so are the others.
        aspect: stretch or pad.
        mean: of the checkpoint's network.
        std: of it.
    """
    now = take(size=size, aspect=aspect, mean=mean, std=std)
    try:
        standardised = bool(np.allclose([kept["mean"], kept["std"]], [mean, std], rtol=1e-4))
        apart = {} if kept["sha256"] == now["sha256"] else _apart(kept["pixels"], now["pixels"])
        versions = [_versions(one["versions"]) for one in (kept, now)]
    except (KeyError, TypeError, AttributeError, ValueError):
        raise ValueError(
            "preprocessing in metrics.json must be as pneumo.train writes it; it is broken. Take "
            "the run folder anew"
        ) from None
    if not standardised:
        raise ValueError(
            f"a run's images must be standardised as in its training, by {kept['mean']:.3f} and "
            f"{kept['std']:.3f}; its checkpoint has {mean:.3f} and {std:.3f}. Take the run folder "
            "anew"
        )
    if worst := {name: most for name, most in apart.items() if most > TOLERANCE}:
        told = ", ".join(f"{name} by {most}" for name, most in worst.items())
        raise ValueError(
            f"images must be prepared as in the run's training, to within {TOLERANCE} of 255 grey "
            f"levels; here differ {told}. The run had {versions[0]}, here are {versions[1]}: "
            "install the run's"
        )


def _apart(kept: Mapping[str, str], now: Mapping[str, str]) -> dict[str, int]:
    """The largest difference of each image's kept pixels."""
    found = {}
    for name, pixels in now.items():
        before, after = (
            np.frombuffer(bytes.fromhex(text), np.uint8).astype(int)
            for text in (kept[name], pixels)
        )
        if before.shape != after.shape:
            raise KeyError(name)
        found[name] = int(np.abs(before - after).max())
    return found


def _versions(versions: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def _kept(prepared: np.ndarray) -> np.ndarray:
    """(SIDE, SIDE) pixels as they are: a mean would hide what aliasing does."""
    rows, columns = (np.arange(SIDE) * length // SIDE for length in prepared.shape)
    return np.ascontiguousarray(prepared[np.ix_(rows, columns)])


@cache
def _images() -> dict[str, bytes]:
    """The encoded images; of the PNG, no encoder but zlib has a say."""
    drawn = _drawn()
    deep = drawn * 16 + drawn % 16  # 12 bits in 16
    return {
        "jpeg": JPEG.read_bytes(),
        "png": _png(drawn.astype(np.uint8), bits=8),
        "16-bit png": _png(deep.astype(">u2"), bits=16),
    }


def _drawn() -> np.ndarray:
    """(HEIGHT, WIDTH) int: rings with hard edges, finer outwards, which show any other filter."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.asarray((x * x + y * y) // 17 % 256)


def _png(pixels: np.ndarray, *, bits: int) -> bytes:
    height, width = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    return image.PNG_MAGIC + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    )
