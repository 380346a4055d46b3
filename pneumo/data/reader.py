"""Files become prepared images, decoded ahead in threads, in the order in which they are named."""

import os
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from pneumo.data import dicom, dicom_header, image
from pneumo.data.dicom_header import Header
from pneumo.data.labelled import SUFFIXES as SUFFIXES

STANDARD_INPUT = "-"

Shape = tuple[int, str]  # image size and aspect, the arguments of pneumo.data.image.resize


@dataclass(frozen=True)
class InMemory:
    """An image that is not a file."""

    name: str
    grey: np.ndarray  # (H, W) uint8
    chroma: float = 0.0  # see pneumo.data.image


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
    closed: list[str] = []
    others = 0
    for path in paths:
        if path == STANDARD_INPUT or not os.path.isdir(path):  # noqa: PTH112  (may hold a NUL)
            names.append(path)
            continue
        walk = os.walk(path, onerror=lambda error: closed.append(str(error.filename)))
        for place, folders, files in walk:
            folders[:] = sorted(f for f in folders if not f.startswith(".") and f != "__MACOSX")
            others += sum(Path(place, folder).is_symlink() for folder in folders)
            for file in (Path(place, name) for name in sorted(files) if name[0] != "."):
                is_image = _is_image(file)
                names += [str(file)] * is_image
                others += not is_image
    return names + closed, others


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
        return InMemory(name, grey, image.picture_chroma(value))
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
            data = _bytes(source)
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
    odd = (*header.odd, *image.odd_pixels(grey, chroma=chroma))
    return Radiograph(name, prepared, (width, height), odd, header=header)


def decode(name: str) -> tuple[np.ndarray, float]:
    """Returns (H, W) uint8 grey values of a PNG, JPEG or DICOM file, and its `image.chroma`.

    Raises:
        ImageError: with ``name``: it is none of these, or cannot be read.
    """
    return _decode(_bytes(name), name)


def _decode(data: bytes, name: str) -> tuple[np.ndarray, float]:
    try:
        if dicom.is_dicom(data):
            return dicom.decode(data, name=name), 0.0
        return image.decode(data, name=name), image.chroma(data)
    except image.ImageError:
        raise
    except Exception as error:  # one bad file must not end the reading of ten thousand
        reason = f"{type(error).__name__}: {error}"
        raise image.ImageError(f"{name}: cannot be read ({reason})") from None


def _bytes(name: str) -> bytes:
    if name == STANDARD_INPUT:
        return sys.stdin.buffer.read()
    try:
        return image.read(Path(name))
    except ValueError as error:  # also of a NUL in a name
        reason = str(error).removeprefix(f"{name}: ")
        raise image.ImageError(f"{name}: {reason}") from None


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
