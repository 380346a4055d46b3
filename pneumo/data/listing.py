"""The images in labelled folders, <source>/<label>/<file> or <label>/<file>, and unused names."""

import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from pneumo.labels import CLASS_NAMES

SOURCES = ("train", "val", "test")
SUFFIXES = (".jpeg", ".jpg", ".png", ".dcm", ".dicom")
# Folders that are used, Kaggle's and macOS's copies, and the folder of a disk's repair
KNOWN = {*CLASS_NAMES, *SOURCES, "chest_xray", "__MACOSX", "lost+found"}
ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".xz", ".7z", ".rar")


def check_unpacked(place: Path, *, name: str = "data.root") -> None:
    """Raises ValueError if ``place``, the value of the argument ``name``, is an archive."""
    if place.suffix.lower() not in ARCHIVES or not place.is_file():
        return
    zipped = place.suffix.lower() == ".zip"
    how = f", by: python -m zipfile -e {shlex.quote(str(place))} DIR" if zipped else ""
    raise ValueError(
        f"{name} must be a folder; {place} is an archive. Unpack it{how}, then name its folder"
    )


def images_in(folder: Path) -> tuple[list[str], list[str]]:
    """Returns the names of the images in a folder, and of what else is there, both sorted.

    Hidden files are in neither list; folders are not entered.

    Raises:
        ValueError: the folder cannot be read.
    """
    entries = _visible(folder)
    images = [e.name for e in entries if e.name.lower().endswith(SUFFIXES) and e.is_file()]
    return images, sorted({entry.name for entry in entries} - set(images))


def _visible(folder: Path) -> list[os.DirEntry[str]]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise ValueError(f"{folder} must be readable; it is not ({error.strerror})") from None
    return [entry for entry in entries if not entry.name.startswith(".")]


def walk(base: Path, sources: Sequence[str] = SOURCES) -> tuple[list[str], list[str]]:
    """Returns the images in <source>/<label>/, sorted, and the unused names there and beside.

    Raises:
        ValueError: a folder cannot be read.
    """
    names, left_out = [], _beside(base)
    for source in (source for source in sources if (base / source).is_dir()):
        for label in CLASS_NAMES:
            place = f"{source}/{label}".lstrip("/")
            if (base / place).is_dir():
                images, others = images_in(base / place)
                names += [f"{place}/{name}" for name in images]
                left_out += [f"{place}/{name}" for name in others]
        if source:
            left_out += [f"{source}/{name}" for name in _beside(base / source)]
    return sorted(names), left_out


def _beside(folder: Path) -> list[str]:
    """Returns the images and folders (with a slash) in ``folder``, beside those of the set."""
    entries = [entry for entry in _visible(folder) if entry.name not in KNOWN]
    return [
        f"{entry.name}/" if entry.is_dir() else entry.name
        for entry in entries
        if entry.is_dir() or entry.name.lower().endswith(SUFFIXES)
    ]
