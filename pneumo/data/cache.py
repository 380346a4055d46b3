"""The images of a table as one memory-mapped uint8 array on disk, written once."""

import contextlib
import hashlib
import json
import logging
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from filelock import FileLock, Timeout
from tqdm import tqdm

from pneumo import cli
from pneumo.data import dicom, image
from pneumo.data.labelled import NUM_SHOWN

log = logging.getLogger(__name__)

BLOCK = 1024  # images that are in memory while they are prepared


@dataclass(frozen=True)
class Cache:
    """The prepared images and their measurements, in the order of the table."""

    images: np.ndarray  # (N, S, S) uint8, memory-mapped, read-only
    digests: list[str]  # SHA-256 of each file's bytes, hexadecimal
    means: np.ndarray  # (N,) float64, mean grey value of each image, 0 to 255
    squares: np.ndarray  # (N,) float64, mean squared grey value of each image


def load(
    root: Path,
    paths: Sequence[str],
    *,
    cache_dir: Path,
    image_size: int = 256,
    aspect: str = "stretch",
) -> Cache:
    """Returns the images of ``paths`` (relative to ``root``), prepared by pneumo.data.image.

    They are written to ``cache_dir`` on the first call, in a file named by what they depend on:
    each path with its size and time of change, the image size, the aspect, and the version of the
    preprocessing. The file appears whole or not at all; of two processes that need it at once,
    one writes and the other waits.

    Raises:
        ValueError: images that cannot be read, with the first few names; no room or permission
            for ``cache_dir``.
    """
    cache_dir = Path(cache_dir).expanduser()
    stem = cache_dir / key(root, paths, image_size=image_size, aspect=aspect)
    shape = (len(paths), image_size, image_size)
    if not _is_whole(stem, shape):  # else also in a folder that cannot be written
        try:
            cache_dir.mkdir(parents=True, exist_ok=True)
            _clear_left(cache_dir)
            with FileLock(f"{stem}.lock"):
                if not _is_whole(stem, shape):
                    _build(root, paths, stem, size=image_size, aspect=aspect)
        except OSError as error:
            raise ValueError(
                f"data.cache_dir must be a folder with room for {np.prod(shape) / 1e6:,.0f} MB; "
                f"{cache_dir}: {error.strerror}. Name another: data.cache_dir=DIR"
            ) from None
    table = pd.read_csv(stem.with_suffix(".csv"))
    images = np.memmap(stem.with_suffix(".u8"), np.uint8, "r", shape=shape)
    return Cache(images, table["digest"].tolist(), *table[["mean", "square"]].to_numpy().T)


def key(root: Path, paths: Sequence[str], *, image_size: int, aspect: str) -> str:
    """Returns the name of the cache: a digest of all that its content depends on."""
    digest = hashlib.sha256(
        json.dumps([image.VERSION, image_size, aspect, str(Path(root).resolve())]).encode()
    )
    for path in paths:
        try:
            stat = os.stat(os.path.join(root, path))  # noqa: PTH116, PTH118  (twice as fast)
        except OSError as error:
            raise ValueError(f"{path}: cannot be read ({error.strerror})") from None
        digest.update(f"{path}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    return f"images-{image_size}-{digest.hexdigest()[:16]}"


def statistics(cache: Cache, rows: np.ndarray) -> tuple[float, float]:
    """Returns mean and standard deviation of all pixels of ``rows``, in grey values (0 to 255)."""
    mean = float(cache.means[rows].mean())
    variance = float(cache.squares[rows].mean()) - mean**2
    return mean, max(variance, 1e-6) ** 0.5


def _is_whole(stem: Path, shape: tuple[int, ...]) -> bool:
    path = stem.with_suffix(".u8")
    return path.exists() and path.stat().st_size == np.prod(shape)


def _clear_left(cache_dir: Path) -> None:
    """Deletes partial files of interrupted processes: nobody holds their lock."""
    for partial_file in cache_dir.glob("images-*.tmp"):
        with contextlib.suppress(Timeout), FileLock(partial_file.with_suffix(".lock"), timeout=0):
            partial_file.unlink(missing_ok=True)


def _build(root: Path, paths: Sequence[str], stem: Path, *, size: int, aspect: str) -> None:
    """Writes the pixels, their measures, and last the name that marks a whole cache."""
    threads = os.cpu_count() or 1
    counts = cli.counted(len(paths), "image"), cli.counted(threads, "thread")
    log.info("Preparing %s once, with %s", *counts)
    draft, rows = stem.with_suffix(".tmp"), []
    prepare = partial(_prepare, root, size=size, aspect=aspect)
    hidden = not sys.stderr.isatty()
    try:
        with (
            draft.open("wb") as file,
            ThreadPoolExecutor(threads) as pool,
            tqdm(total=len(paths), unit="image", disable=hidden) as bar,
        ):
            for start in range(0, len(paths), BLOCK):
                for pixels, *row in pool.map(prepare, paths[start : start + BLOCK]):
                    file.write(pixels.data)
                    rows.append(row)
                    bar.update()
            os.fsync(file.fileno())
        errors = sorted(str(error) for *_, error in rows if error)
        if errors:
            more = len(errors) - NUM_SHOWN
            raise ValueError(
                f"every image must be readable; {len(errors):,} of {len(paths):,} are not:\n  "
                + "\n  ".join(errors[:NUM_SHOWN])
                + (f"\n  and {more:,} more" if more > 0 else "")
                + f"\nRepair them or move them out of {root}"
            )
        table = pd.DataFrame([row[:3] for row in rows], columns=["digest", "mean", "square"])
        table.to_csv(stem.with_suffix(".csv"), index=False, float_format="%.17g")
        draft.replace(stem.with_suffix(".u8"))
    finally:
        draft.unlink(missing_ok=True)


def _prepare(
    root: Path, name: str, *, size: int, aspect: str
) -> tuple[np.ndarray, str, float, float, str]:
    """Returns (size, size) uint8, the digest, mean, mean square, and the error of a file."""
    try:
        data = image.read(Path(root, name))
        decode = dicom.decode if dicom.is_dicom(data) else image.decode
        pixels = image.resize(decode(data, name=name), size=size, aspect=aspect)
    except ValueError as error:
        return np.zeros((size, size), np.uint8), "", 0.0, 0.0, str(error)
    # like decoding, OpenCV's sums release the interpreter
    total, squared = cv2.sumElems(pixels)[0], cv2.norm(pixels, cv2.NORM_L2SQR)
    return pixels, hashlib.sha256(data).hexdigest(), total / size**2, squared / size**2, ""
