"""Files become prepared images, decoded ahead in threads, in the order in which they are named."""

import os
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from pneumo.data import dicom, dicom_header, image, pixels
from pneumo.data.dicom_header import Header
from pneumo.data.listing import SUFFIXES as SUFFIXES

STANDARD_INPUT = "-"
MAX_BYTES = 512_000_000  # 100 million pixels of 16 bits are 200 MB

Shape = tuple[int, str]  # image size and aspect, the arguments of pneumo.data.image.resize


@dataclass(frozen=True)
class InMemory:
    """An image that is not a file."""

    name: str
    grey: np.ndarray  # (H, W) uint8
    chroma: float = 0.0  # see pneumo.data.pixels


@dataclass(frozen=True)
class Radiograph:
    """One file as the networks need it, or why it cannot be read."""

    name: str  # as on the command line
    prepared: dict[Shape, np.ndarray] = field(default_factory=dict)  # (S, S) uint8 each
    size: tuple[int, int] = (0, 0)  # width and height of the file, pixels
    odd: tuple[str, ...] = ()  # why it is not a frontal chest radiograph, by header and pixels
    error: str = ""
    header: Header = field(default_factory=Header)  # of a DICOM file


def find(paths: Sequence[str]) -> tuple[list[str], int]:
    """Returns the files that ``paths`` name, and how many other files their folders hold.

    A file stays as it is named, whether it exists or not. A folder stands for its images and
    those of its folders, sorted: files ending in SUFFIXES, and DICOM files without an ending.
    Hidden files and folders and ``__MACOSX`` are left out; links to folders are not followed and
    count as others. A folder that cannot be read is returned as if it were a file, so that it
    becomes an error.
    """
    names: list[str] = []
    others = 0
    for path in paths:
        if path == STANDARD_INPUT or not os.path.isdir(path):  # noqa: PTH112  (may hold a NUL)
            names.append(path)
            continue
        for file, is_image in _walk(path):
            names += [file] * is_image
            others += not is_image
    return names, others


def from_memory(value: object, *, name: str) -> InMemory:
    """Returns a PIL image or an array, (H, W) uint8, uint16 or float from 0 to 1.

    Raises:
        ImageError: with ``name``: it is of another type, or see `image.from_array` and
            `image.from_picture`.
    """
    if isinstance(value, np.ndarray):
        return InMemory(name, image.from_array(value, name=name))
    if isinstance(value, Image.Image):
        grey = image.from_picture(value, name=name)
        return InMemory(name, grey, pixels.picture_chroma(value))
    raise image.ImageError(
        f"{name}: must be a path, a PIL image or a NumPy array (H, W); got {type(value).__name__}"
    )


def read_all(
    sources: Iterable[str | InMemory], *, shapes: Sequence[Shape], threads: int
) -> Iterator[Radiograph]:
    """Yields the image of each source, in order; at most a few for each thread are held at once."""
    waiting: deque[Future[Radiograph]] = deque()
    with ThreadPoolExecutor(threads) as pool:  # decoding and resizing release the interpreter
        try:
            for source in sources:
                waiting.append(pool.submit(read, source, shapes=shapes))
                if len(waiting) > 4 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def read(source: str | InMemory, *, shapes: Sequence[Shape]) -> Radiograph:
    """Returns an image, prepared for each of ``shapes``; one that cannot be read has an error."""
    name, header = source if isinstance(source, str) else source.name, Header()
    try:
        if isinstance(source, InMemory):
            grey, chroma = source.grey, source.chroma
        else:
            with _naming(name):
                data = _bytes(name)
                if dicom.is_dicom(data):
                    header = dicom_header.read(data)
                grey, chroma = _decode(data, name)
        prepared = {
            (size, aspect): image.resize(grey, size=size, aspect=aspect) for size, aspect in shapes
        }
    except ValueError as error:
        why = str(error).removeprefix(f"{name}: ")
        return Radiograph(name, odd=tuple(header.odd), error=why, header=header)
    height, width = grey.shape
    odd = (*header.odd, *pixels.odd_pixels(grey, chroma=chroma))
    return Radiograph(name, prepared, (width, height), odd, header=header)


def decode(name: str) -> tuple[np.ndarray, float]:
    """Returns (H, W) uint8 grey values of a PNG, JPEG or DICOM file, and its `pixels.chroma`.

    Raises:
        ImageError: with ``name``: it is none of these, or cannot be read.
    """
    with _naming(name):
        return _decode(_bytes(name), name)


def _decode(data: bytes, name: str) -> tuple[np.ndarray, float]:
    if dicom.is_dicom(data):
        return dicom.decode(data, name=name), 0.0
    return image.decode(data, name=name), pixels.chroma(data)


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Turns any error into an ImageError with ``name``."""
    try:
        yield
    except image.ImageError:
        raise
    except Exception as error:  # one bad file must not end the reading of ten thousand
        raise image.ImageError(
            f"{name}: cannot be read ({type(error).__name__}: {error})"
        ) from None


def _bytes(name: str) -> bytes:
    if name == STANDARD_INPUT:
        data = sys.stdin.buffer.read(MAX_BYTES + 1)
        num_bytes = len(data)
    else:
        path = Path(name)
        if path.exists() and not path.is_file():
            closed = path.is_dir() and not os.access(path, os.R_OK | os.X_OK)
            rule = "must be a regular file; give - to read standard input"
            raise image.ImageError(f"{name}: {'the folder cannot be read' if closed else rule}")
        num_bytes = path.stat().st_size if path.exists() else 0
        data = image.read(path) if num_bytes <= MAX_BYTES else b""
    if num_bytes > MAX_BYTES:
        raise image.ImageError(f"{name}: a file may have at most {MAX_BYTES:,} bytes")
    return data


def _walk(folder: str) -> Iterator[tuple[str, bool]]:
    """Yields the files of a folder, linked folders and folders that cannot be read.

    Each with whether it is to be read as an image.
    """
    closed: list[str] = []
    for place, folders, files in os.walk(folder, onerror=lambda e: closed.append(str(e.filename))):
        folders[:] = sorted(f for f in folders if not f.startswith(".") and f != "__MACOSX")
        for file in sorted(files):
            if not file.startswith("."):
                path = Path(place, file)
                yield str(path), _is_image(path)
        yield from ((str(Path(place, f)), False) for f in folders if Path(place, f).is_symlink())
    yield from ((path, True) for path in closed)


def _is_image(path: Path) -> bool:
    suffix = path.suffix.lower()
    if not path.is_file() or suffix in SUFFIXES:
        return path.is_file()
    if suffix.strip(".0123456789"):  # DICOM's own names are such as 1.2.840.10008.1
        return False
    try:
        with path.open("rb") as file:
            head = file.read(dicom.HEADER_BYTES)
            return dicom.is_dicom(head) and not dicom.is_directory(head)
    except OSError:
        return False
