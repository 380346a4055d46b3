"""The images of a table as one memory-mapped uint8 array on disk, written once."""

import contextlib
import errno
import hashlib
import json
import logging
import os
import sys
import zlib
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BufferedWriter
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from filelock import FileLock, Timeout
from tqdm import tqdm

from pneumo import cli
from pneumo.data import dicom, image

log = logging.getLogger(__name__)

NUM_SHOWN = 5  # unreadable files in an error message
CHECK_BYTES = 1 << 24  # a block of the checksum, so that memory stays flat


@dataclass(frozen=True)
class Cache:
    """The prepared images and what is measured while they are read, in the order of the table."""

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
    one writes and the other waits. A file that does not match its checksum is rewritten, with a
    warning.

    Raises:
        ValueError: images that cannot be read, with the first few names; no room or permission
            for ``cache_dir``.
    """
    cache_dir = Path(cache_dir).expanduser()
    stem = cache_dir / key(root, paths, image_size=image_size, aspect=aspect)
    shape = (len(paths), image_size, image_size)
    if _problem(stem, shape) is None:  # also in a folder that cannot be written
        return _open(stem, shape)
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        _clear_left(cache_dir)
        with FileLock(f"{stem}.lock"):
            problem = _problem(stem, shape)
            if problem and stem.with_suffix(".u8").exists():
                log.warning("The cache %s is broken (%s): writing it again", stem, problem)
            if problem:
                _build(root, paths, stem, shape, aspect=aspect)
            return _open(stem, shape)
    except OSError as error:
        raise ValueError(
            f"data.cache_dir must be a folder with room for {np.prod(shape) / 1e6:,.0f} MB; "
            f"{cache_dir}: {error.strerror}. Name another: data.cache_dir=DIR"
        ) from None


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


def _clear_left(cache_dir: Path) -> None:
    """Deletes partial files of interrupted processes: nobody holds their lock."""
    for partial in cache_dir.glob("images-*.tmp"):
        lock = partial.with_name(f"{partial.name.partition('.')[0]}.lock")
        with contextlib.suppress(Timeout), FileLock(lock, timeout=0):
            partial.unlink(missing_ok=True)


def _build(
    root: Path, paths: Sequence[str], stem: Path, shape: tuple[int, ...], *, aspect: str
) -> None:
    array_path = stem.with_name(f"{stem.name}.{os.getpid()}.tmp")
    try:
        with array_path.open("wb") as file:
            rows, errors = _prepare_all(root, paths, file, size=shape[1], aspect=aspect)
            os.fsync(file.fileno())
        if errors:
            more = len(errors) - NUM_SHOWN
            raise ValueError(
                f"every image must be readable; {len(errors):,} of {len(paths):,} are not:\n  "
                + "\n  ".join(errors[:NUM_SHOWN])
                + (f"\n  and {more:,} more" if more > 0 else "")
                + f"\nRepair them or move them out of {root}"
            )
        table = pd.DataFrame(rows, columns=["digest", "mean", "square"])
        table.to_csv(stem.with_suffix(".csv"), index=False, float_format="%.17g")
        checksums = {
            "crc32": _checksum(array_path),
            "csv_crc32": _checksum(stem.with_suffix(".csv")),
        }
        stem.with_suffix(".json").write_text(json.dumps(checksums | {"shape": shape}))
        array_path.replace(stem.with_suffix(".u8"))  # last, so that it marks a whole cache
    finally:
        array_path.unlink(missing_ok=True)


def _prepare_all(
    root: Path, paths: Sequence[str], file: BufferedWriter, *, size: int, aspect: str
) -> tuple[list[tuple[str, float, float]], list[str]]:
    """Writes the images to ``file``; returns digest, mean and square of each, and errors."""
    errors: list[str] = []
    depths: list[int] = []  # of the images of more than 8 bits

    def prepare(number: int) -> tuple[str, float, float]:
        name = paths[number]
        try:
            data = image.read(Path(root, name))
            if dicom.is_dicom(data):
                grey = dicom.decode(data, name=name)
            else:
                grey = image.decode(data, name=name, depths=depths)
            pixels = image.resize(grey, size=size, aspect=aspect)
        except ValueError as error:
            errors.append(str(error))
            return "", 0.0, 0.0
        # like decoding, this and OpenCV's sums release the interpreter
        written = os.pwrite(file.fileno(), pixels.data, number * size * size)
        if written < pixels.size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        total, squared = cv2.sumElems(pixels)[0], cv2.norm(pixels, cv2.NORM_L2SQR)
        return hashlib.sha256(data).hexdigest(), total / size**2, squared / size**2

    threads = os.cpu_count() or 1
    counts = cli.counted(len(paths), "image"), cli.counted(threads, "thread")
    log.info("Preparing %s once, with %s", *counts)
    with ThreadPoolExecutor(threads) as pool:
        done = pool.map(prepare, range(len(paths)))
        hidden = not sys.stderr.isatty()
        rows = list(tqdm(done, total=len(paths), unit="image", disable=hidden))
    if depths:
        of_depth = sorted(Counter(depths).items())
        listed = ", ".join(f"{bits} bits ({cli.counted(n, 'image')})" for bits, n in of_depth)
        log.info("16-bit images were read as %s; brighter pixels are white", listed)
    return rows, sorted(errors)


def _open(stem: Path, shape: tuple[int, ...]) -> Cache:
    table = pd.read_csv(stem.with_suffix(".csv"))
    images = np.memmap(stem.with_suffix(".u8"), np.uint8, "r", shape=shape)
    return Cache(
        images, table["digest"].tolist(), table["mean"].to_numpy(), table["square"].to_numpy()
    )


def _problem(stem: Path, shape: tuple[int, ...]) -> str | None:
    """Returns why the cache is missing or broken; None if it is whole."""
    array_path = stem.with_suffix(".u8")
    try:
        kept = json.loads(stem.with_suffix(".json").read_text())
        if tuple(kept["shape"]) != shape or array_path.stat().st_size != np.prod(shape):
            return "its size is wrong"
        now = {"crc32": _checksum(array_path), "csv_crc32": _checksum(stem.with_suffix(".csv"))}
        return None if now.items() <= kept.items() else "its checksum is wrong"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return str(error) or type(error).__name__


def _checksum(path: Path) -> list[int]:
    """Returns the CRC-32 of each block of a file; a list, so that all cores share the work."""

    def of_block(start: int) -> int:
        with path.open("rb") as file:
            file.seek(start)
            return zlib.crc32(file.read(CHECK_BYTES))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(of_block, range(0, path.stat().st_size, CHECK_BYTES)))
